// Package registry registers statements of producers: it decides whether a log takes them, and commits those it takes.
//
// The decision is ledger.Admission alone: it depends on the signed statement and on what the log has registered before,
// never on who submits it, when, over which connection or with which headers. What the submitter's identity decides is
// how many statements it may submit in a second and whose idempotency keys are meant.
//
// Invariants:
//   - An answer that names an index names an entry that is durable and published.
//   - The policy that decided is the one in force where the entry stands: the commit fails if it changed meanwhile, and
//     the statement is decided again.
//   - The same statement is registered once; the same commitment under another signature is the entry that is there.
//   - What waits is bounded, in statements, and refused at once beyond that.
//
// The package does not authenticate, and knows nothing of HTTP or of the content of evidence: Config.Check does.
package registry
