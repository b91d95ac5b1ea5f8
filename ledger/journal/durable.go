//go:build !mas_nosync

package journal

// Durable: File.Sync of OS really syncs. Only a program built with the tag mas_nosync has it false, see nosync.go.
const Durable = true
