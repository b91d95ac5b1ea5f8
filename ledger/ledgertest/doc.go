// Package ledgertest holds what tests of the log, of its engines and of everything above them share.
//
//   - [NewLog] gives a running log with fresh keys over a store of the test's choice; [NewKeys] and [Keys.Entry] make
//     keys and signed statements; [Vault] and [Stops] are the in-memory counterparts of the log's other files.
//   - [NewStore] is an in-memory engine, [TestStore] the suite that every engine passes, and [FaultStore] a wrapper
//     that fails, lies or dies at a chosen Apply.
//   - [CheckLog] re-reads a log through its public View as an auditor would and fails the test at the first thing that
//     does not verify. It hashes and proves with transparency-dev/merkle, not with the code under test.
//
// It is imported by tests only. Nothing here needs a file, a network or a tool.
package ledgertest
