// Package ledger holds the formats of the Merkle log and the seams around it.
//
// # What is in the log
//
// One RFC 6962 SHA-256 tree. An entry is the canonical byte string of a Signed Statement: a tagged COSE_Sign1 with an
// empty unprotected header whose payload is the SHA-256 of the evidence (RFC 9943, RFC 9995). The leaf hash is
// SHA-256(0x00 || entry), and its lowercase hex is the entry id. Over the same leaves the package speaks two dialects:
//
//   - C2SP: hash tiles and entry bundles (tlog-tiles), checkpoints as signed notes (tlog-checkpoint), witness
//     cosignatures (tlog-cosignature, tlog-witness) and stand-alone proofs (tlog-proof);
//   - IETF: COSE receipts (RFC 9942, RFC9162_SHA256) inside transparent statements (RFC 9943), COSE key sets (RFC 9052)
//     and key thumbprints (RFC 9679).
//
// # Invariants
//
// Every format has one byte string for one value. Parsers accept exactly what the marshallers write, refuse everything
// else, bound what they read, and never modify or keep their input unless they say so. One exception: the protected
// header of a statement that somebody else signed may have its labels in another order, and is kept as it is.
// Signatures are checked over the received bytes, never over a re-encoding. Algorithms are pinned to key types: ES256
// to P-256, EdDSA to Ed25519.
//
// # What the package does not do
//
// The format files do no I/O, read no clock, start no goroutine and log nothing; time is an argument. They decide
// nothing about trust: whoever verifies names the key. The seams [Log], [View] and [Store] are interfaces, implemented
// by ledger/sequencer and the engines.
package ledger
