// Package verifier checks, without any network, secret or server, what a Mission Authority Service says: signed
// statements and their receipts, checkpoints and consistency, projections, status responses, agreements, the evidence
// bundle of a mission, and the two-log story of a federation exchange.
//
// Octets go in; verdicts and findings come out. Nothing here reads a file, a clock, a socket or a private key, and
// nothing is logged. The instant at which something is judged is an argument.
//
// Trust comes only from a Trust document that the caller obtained by its own means. Keys and names that travel inside
// an artifact are hints: they select a trusted key, they never become one.
//
// The package keeps four things apart that are often called "invalid":
//   - an integrity failure: something was checked and is wrong (a signature, a digest, a proof, an illegal history);
//   - an audit failure: something needed for the check is missing (a key, a body, a proof); no sign of tampering;
//   - an explained absence: the evidence was erased and the log says so;
//   - an unknown type of evidence, which is ignored but shown.
//
// What a verdict does not claim is part of the report: see Claim.
package verifier
