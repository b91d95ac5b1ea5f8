// Package sequencer is the one writer of a log: it turns Changes into commit groups over a ledger.Store and publishes
// what became durable. It exists once for all engines.
//
// # The commit
//
// Commit works in the caller's goroutine as far as it can: it parses the statements, hashes the leaves, looks up rows
// and duplicates in the published view and seals the bodies. Then the Change waits. One goroutine, Run, takes
// everything that waits, without a timer, evaluates the preconditions of each Change in order over the effects of
// those before it, assigns indexes, extends the tree in memory, signs one checkpoint and calls Store.Apply. What
// arrives meanwhile is the next group. Only when Apply has returned is the group published, and only then is anybody
// answered, the refused included: whoever reads again after ErrConflict sees what the Change conflicted with.
//
// A Change without new entries leaves the tree and its checkpoint as they are. A Change that would write nothing,
// because all its entries are already there, is answered from the published head.
//
// If Apply fails with nothing written, the group is refused and the tree stays where it was, because groups extend a
// copy of the edge. If the outcome is unknown, the write latch closes and reads go on from the last published group. A
// Change whose context ends while it waits is dropped; once it has been taken its outcome is awaited. When the context
// of Run ends, waiting Changes are still committed and later ones refused.
//
// Registration times never go backwards: a group gets the clock's time or that of the group before it. A clock that
// jumps ahead of the monotonic one by more than [ClockTolerance] is not followed. While it is that far ahead, or behind
// the last group, Changes that expect NotAfter are refused with ErrUnavailable, because nobody can say whether their
// deadline has passed; others, such as stops, go on. It ends when the clock is right again, or with [Log.AcceptClock].
//
// # Publishing and reading
//
// A View is the state of one group: its head, its checkpoint, its edge and a store snapshot taken right after the group
// was applied, shared by all views of that group. Nothing is believed because it is stored:
//
//   - the right edge is rebuilt at Open and must hash to the signed root;
//   - full tiles must hash to their node one level up, those of level 1 and above when the log opens, those of level 0
//     when they are read; a bounded number of verified ones stays in memory;
//   - entries must hash to their leaf, proofs are verified before they are returned;
//   - a row must agree with its hash row;
//   - index keys are truncated, so the entry they lead to is compared in full.
//
// Whatever disagrees closes the integrity latch and is answered with ErrIntegrity. With the latch closed, Commit and
// Proven refuse; reads that verify themselves go on. If the edge itself does not hash to the signed root when the log
// opens, nothing in the tree can be verified, and tree reads refuse too.
//
// # Old rows
//
// An LSM engine that loses or resurrects a table can bring back an old version of a row together with its old hash row.
// They agree, and the entry that justifies them is in the tree, so neither check notices. Four things stand against it:
//
//  1. Rows written since Open are remembered, version and hash, up to a bound (the newest 65,536 at least). A read
//     that disagrees with what this process wrote or proved before is stale, in Get, Proven and List alike, and so
//     is an absent row that was written. The writer counts on from what it remembers.
//  2. Each entry's feed key carries a mark for every row the entry justifies. Proven looks whether an entry above
//     the justifying one in the same feed carries the row's mark; if so a newer version existed. Feed keys are
//     written once, under another prefix than rows and hash rows, so a table that brings back the row leaves the
//     mark in place. A proven row is remembered as in 1; its feed is not read again. For the marks to mean this, a
//     statement that was logged already cannot justify a row that a later entry of its feed has justified: such a
//     Change is refused with ErrConflict.
//  3. A lost table takes all keys of its time with it, the newer feed keys too. It also takes commit rows and
//     entries, so Open demands that the commit rows of the newest 65,536 entries follow each other without a gap.
//  4. [Fsck] compares every row with the last version in the commit point, and with what the caller rebuilds from the
//     evidence.
//
// Not covered without Fsck: rows that no entry justifies (counters, idempotency rows) from before the last Open, rows
// whose versions were justified in different feeds or by a statement that was logged already, rows that a List leaves
// out whole, and losses older than the newest 65,536 entries.
//
// # What it does not do
//
// It verifies no signatures and decides no admission: that is the caller's. It holds no body or key, starts no
// goroutine of its own and never deletes.
package sequencer
