// Package evidence is the catalogue of evidence types: what a body of each content type must look like, who may make
// it, whose feed it belongs to, and how its inner signature is typed.
//
// Check judges one body beside the issuer and the subject of the Signed Statement that commits to it. It is pure: no
// I/O, no clock, no keys. Signatures inside a body are parsed and held against the octets around them; whether their
// key may sign is for who has the keys (package verifier, or the registration service). A content type that is not in
// the catalogue is not refused: Facts.Known is false, and who admits it decides by policy.
//
//	object   the canonical form (RFC 8785) of the whole object, a nested signature envelope included
//	token    a compact JWS as issued
//	cbor     deterministic CBOR; package ledger reads it
//
// Members are closed: the names of the drafts, coordinated extensions, and collision-resistant names (with a full stop,
// a colon or a slash, or beginning with mas_), which are kept and ignored. Parameters of an action never occur in a
// record. Records that could be guessed carry at least 128 random bits, in their id or in a salt.
//
// Sources: draft-mcguinness-mission-audit (Evidence Types), -runtime-evidence, -harness, -discovery, and the
// oauth-mission profiles for consent, governance, children, containment and work products. Where they disagree, see
// docs/formats.md, "Evidence types".
package evidence
