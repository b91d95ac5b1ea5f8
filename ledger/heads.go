package ledger

import (
	"context"
	"fmt"
	"iter"
)

// Heads knows how far a log is published and how far it is witnessed. What is durable is known to the Log; what is
// published may be served; what is witnessed carries the cosignatures that the log's witness policy asks for. Without
// a policy everything durable is published; under the publishing policy fail_open too, and the witnessed head lags;
// under fail_closed the published head is the witnessed one.
type Heads interface {
	// View opens a view of the log as it is published: its Head and Checkpoint are the published ones, with the
	// cosignatures that are known, and it shows no entry, proof or tile beyond. Rows are those of the newest group.
	// Before anything is published the head has size 0 and no checkpoint. Close it.
	View() (View, error)
	// Witnessed is View for the newest witnessed head; ErrNotFound if there is none.
	Witnessed() (View, error)
	// Published reports whether the first size entries are published.
	Published(size uint64) bool
	// Await returns nil once the first size entries are published, or the error of ctx.
	Await(ctx context.Context, size uint64) error
}

// DurableHeads are the Heads of a log without witnesses: what is durable is published.
func DurableHeads(l Log) Heads { return durableHeads{l} }

type durableHeads struct{ Log }

func (h durableHeads) Witnessed() (View, error)            { return nil, ErrNotFound }
func (h durableHeads) Published(uint64) bool               { return true }
func (h durableHeads) Await(context.Context, uint64) error { return nil }

// Clamp narrows a view to an older head c of the same log and its signed checkpoint, so that it shows no entry, proof
// or tile beyond. Rows and bodies are those of v. Of the head, group number, epoch and time stay those of v. Closing
// the result closes v.
func Clamp(v View, c Checkpoint, checkpoint []byte) View {
	return &clamped{View: v, size: c.Size, root: c.Root, checkpoint: checkpoint}
}

type clamped struct {
	View
	size       uint64
	root       Hash
	checkpoint []byte
}

// beyond is the error for what the narrowed view does not show.
func (v *clamped) beyond(what string, n uint64) error {
	return fmt.Errorf("ledger: %s %d is beyond the published size %d: %w", what, n, v.size, ErrNotFound)
}

func (v *clamped) Head() Head {
	h := v.View.Head()
	h.Size, h.Root = v.size, v.root
	return h
}

func (v *clamped) Checkpoint() []byte { return v.checkpoint }

func (v *clamped) Proven(key string) (Row, error) {
	row, err := v.View.Proven(key)
	if err == nil && row.JustifiedBy >= v.size {
		return Row{}, fmt.Errorf("ledger: row %.80q rests on entry %d, which is not published: %w", key, row.JustifiedBy,
			ErrUnavailable)
	}
	return row, err
}

func (v *clamped) Entry(index uint64) (LoggedEntry, error) {
	if index >= v.size {
		return LoggedEntry{}, v.beyond("entry", index)
	}
	return v.View.Entry(index)
}

func (v *clamped) Lookup(entryID string) (uint64, error) {
	index, err := v.View.Lookup(entryID)
	if err == nil && index >= v.size {
		return 0, v.beyond("entry", index)
	}
	return index, err
}

func (v *clamped) Feed(subject string, after int64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		for index, err := range v.View.Feed(subject, after) {
			if err == nil && index >= v.size || !yield(index, err) {
				return
			}
		}
	}
}

func (v *clamped) Tile(level int, index uint64, width int) ([]Hash, error) {
	t := Tile{Level: level, Index: index}
	if width > t.WidthAt(v.size) {
		return nil, v.beyond("tile", index)
	}
	return v.View.Tile(level, index, width)
}

func (v *clamped) Inclusion(index, size uint64) ([]Hash, error) {
	if size > v.size {
		return nil, v.beyond("size", size)
	}
	return v.View.Inclusion(index, size)
}

func (v *clamped) Consistency(from, to uint64) ([]Hash, error) {
	if to > v.size {
		return nil, v.beyond("size", to)
	}
	return v.View.Consistency(from, to)
}

func (v *clamped) RootAt(size uint64) (Hash, error) {
	if size > v.size {
		return Hash{}, v.beyond("size", size)
	}
	return v.View.RootAt(size)
}
