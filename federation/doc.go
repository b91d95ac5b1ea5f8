// Package federation holds the values that two Mission Authority Services exchange and the rules over them: the
// Agreement and its two governance signatures, the Peer record and the local Annex, the Projection with its order of
// checks, the derivation receipt, what leaves a domain (Minimise), how a conveyed entry becomes local authority (Map),
// and what an observation of an upstream does to the Missions that depend on it (Couple). docs/federation-profile.md is
// the specification.
//
// # Invariants
//
//   - Trust comes from the Peer record alone. An artifact never selects the key it is checked with: the peer is chosen
//     first, by its issuer, and its keys are those that the Agreement names.
//   - Everything received is parsed once, strictly, with a size limit, by package mission; claim sets are closed.
//   - An entry crosses the border only if its own `federation` member names the peer and the shape.
//   - Nothing conveyed becomes wider: a local entry lies inside a conveyed entry and inside a ceiling that a person of
//     this domain approved.
//   - Silence and doubt never assert and never end anything: they hold.
//
// # What the package does not do
//
// It is pure: no I/O, no clock (time is an argument), no logger, no goroutine; only the New… functions draw random
// bytes. It holds no state: single use, counting, storing and logging belong to package authority, transport to package
// peering.
package federation
