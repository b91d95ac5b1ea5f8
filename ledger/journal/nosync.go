//go:build mas_nosync

package journal

// Durable is false in this build: File.Sync of OS does nothing, so what is acknowledged may be lost with the machine.
// The build exists so that a test of durability can show that it would notice. Nothing but the tag switches the sync
// off, and a store says so when it opens.
const Durable = false
