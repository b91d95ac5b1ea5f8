// Package custody ends what the vault holds. It erases evidence bodies, by order or because their time has passed,
// keeps those under legal hold, and records who read what.
//
// # Erasure
//
// An erasure is first logged and then done: one Change commits the Erasure Record, in the feed of what it erases, with
// the row that says so; from then on the body is refused. Then the vault destroys the body's key, which has a journal
// of its own that a restored key file replays. Whatever a crash left undone is done by [Custody.Recover], from the
// rows: so a key file and a key journal that both come from a backup lose again what the log says is erased. The
// sealed body stays where it is, in the journal, in the store and in every copy of them, and nothing opens it.
//
// Log entries are never touched: the statement, its proofs and the tree stay what they were.
//
// What cannot be erased: public bodies (ledger.PublicBody), what the service still works with (missions that have not
// ended, submissions that nobody decided, principals, peers, agreements), and what is under a hold. Evidence of another
// producer is erased by a record that this producer registered.
//
// # Retention and holds
//
// Retention erases by the rules of a policy whose text is logged. A hold on a mission or on one entry keeps its bodies
// from both; holds are counters that the erasing Change expects to be zero, so a hold that was acknowledged cannot lose
// a race.
//
// # Access records
//
// [Custody.Read] commits a record before it returns a body: one for each reader, body and hour.
//
// The package decides nothing about missions: [Missions] says what is in use.
package custody
