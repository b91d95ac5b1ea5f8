package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// A Salvaged says what Salvage brought out of a damaged store and what not.
type Salvaged struct {
	Frames, Stops uint64      // in the new directory, from the first on without a gap
	Head          ledger.Head // after the last of them
	Left          []Damage    // what could not be read, and everything behind it
}

// Salvage copies what verifies out of the journals in dir to the new directory to, which then is what a follower's
// copy is: a source for Restore, together with the newest head that anyone has seen. Frames are taken from the first
// on, as long as each continues the one before and leads to the root it says; behind the first that does not nothing
// is taken, because nothing ties it to what was signed. Nothing in dir is changed, and keys of bodies are not copied:
// give Restore the directory itself.
func Salvage(ctx context.Context, dir, to string, opt Options) (*Salvaged, error) {
	opt = opt.withDefaults()
	if err := ensureEmpty(to); err != nil {
		return nil, err
	}
	f, err := OpenFollower(to, opt)
	if err != nil {
		return nil, err
	}
	out := &Salvaged{Head: ledger.Head{Root: ledger.EmptyRoot}}
	err = errors.Join(f.salvage(ctx, dir, out), f.Close())
	return out, err
}

func (f *Follower) salvage(ctx context.Context, dir string, out *Salvaged) error {
	edge := ledger.NewEdge()
	for _, part := range Parts() {
		j, err := journal.Open(filepath.Join(dir, part), journal.Options{
			Identity: f.opt.identity(part), ReadOnly: true, FS: f.opt.FS,
		})
		if err != nil {
			out.Left = append(out.Left, Damage{part, err.Error()})
			continue
		}
		for frame, err := range j.Read(1) {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil && part == journalDir {
				err = f.extends(edge, frame, out)
			}
			if ctx.Err() != nil {
				return errors.Join(ctx.Err(), j.Close())
			}
			if err != nil {
				out.Left = append(out.Left, Damage{part, err.Error()})
				break
			}
			if _, err := f.copies[part].Append(frame.Payload); err != nil {
				return errors.Join(fmt.Errorf("badgerstore: salvage: %w", err), j.Close())
			}
		}
		if err := j.Close(); err != nil {
			return fmt.Errorf("badgerstore: salvage: %w", err)
		}
	}
	out.Frames, _ = f.Last(journalDir)
	out.Stops, _ = f.Last(stopsDir)
	return nil
}

// extends checks that a frame leads to the root it says.
func (f *Follower) extends(edge *ledger.Edge, frame journal.Frame, out *Salvaged) error {
	b, err := ledger.UnmarshalBatch(frame.Payload)
	if err == nil && b.Head.Seq != frame.Seq {
		err = fmt.Errorf("frame %d holds batch %d: %w", frame.Seq, b.Head.Seq, ledger.ErrIntegrity)
	}
	if err == nil {
		err = extend(edge, b)
	}
	if err == nil {
		out.Head = b.Head
	}
	return err
}
