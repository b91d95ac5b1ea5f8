// Package authority owns the state of missions: it is where a request becomes a decision, and a decision becomes one
// commit of rows and the evidence that proves them.
//
//	Submit, Poll                a client proposes; nothing is granted
//	Queue, Review, Decide       the approver sees a rendering and decides exactly that
//	Status                      the signed answer to "may this be relied on now"
//	Lifecycle                   revoke, suspend, resume, complete
//	Recover, Run                start: principals, emergency stops; then deadlines and digests of refusals
//	Rebuild, Check              the rows again, from the log and the evidence alone
//	Agree, Introduce, Project,  the border: what peers are told, what they bring, and local missions that follow
//	Mint, Receive, RunCoupling  one of theirs (federationrows.go)
//
// Rules that hold in every function:
//
//   - Who asks is a Caller, authenticated elsewhere; what it may do is decided here, from the principals in force, and
//     nothing is granted without a role. An id, however it was come by, grants nothing.
//   - A step reads one view, decides with pure code of package mission, signs, and submits one ledger.Change whose
//     preconditions name what it read. A conflict is decided again from the start.
//   - No state is signed that the log does not know: a read that finds that the clock has moved a mission commits the
//     transition first. Whatever asserts is read through View.Proven.
//   - Integrity latch, clock doubt, emergency stops and an unfinished start refuse everything positive. Stopping works
//     as long as the log or the emergency-stop journal can be written.
//   - Unknown and not visible are one answer, after the same work. Refusals are evidence, bounded per principal and
//     code and counted beyond.
//   - Text of clients goes to the vault and nowhere else: rows hold ids, digests and times.
//
// The package speaks no HTTP, opens no file and knows no storage engine.
package authority
