// Package witness lets independent parties vouch for the heads of logs, in both roles of https://c2sp.org/tlog-witness.
//
// # The log's side
//
// A [Publisher] shows the newest head of this log to the witnesses of a tlog-policy, at most once every interval,
// keeps their cosignatures in a journal of its own, and says how far the log is published and how far it is witnessed
// (ledger.Heads). A cosignature never becomes an entry of the log, and an idle log has its last head cosigned again
// from time to time, so that a reader can tell an idle log from one that is withheld.
//
// A witness that has seen more of this log than the log has, or another tree, shows that the log was set back or
// forked. With a head that carries this log's own signature it has proven it, and the integrity latch closes; so it
// does when the witnesses that only say so are a quorum. The word of fewer is an alarm and no more.
//
// # The witness's side
//
// A [Server] cosigns the heads of the logs it knows, each one only if it is proven to continue the one before. What it
// has cosigned is durable before it answers; checking and remembering are one step, so that no two requests can undo
// each other. Two heads of one log that contradict each other are kept and reported: by themselves if both have one
// size, and to be looked into if only the proof between them fails, because anybody can send a wrong proof.
//
// The package speaks HTTP to witnesses only; serving is done by its caller. It verifies with formats of package ledger
// and knows nothing of missions.
package witness
