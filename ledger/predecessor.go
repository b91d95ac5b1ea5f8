package ledger

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// ContentTypeLogClosed is the media type of the evidence in the last entry of a log that was frozen.
const ContentTypeLogClosed = "application/mas-log-closed+cbor"

const (
	maxPredecessor = 32 << 10
	maxHeadNote    = 8 << 10
	maxClosed      = 4 << 10
	closedActors   = 2
)

// ErrSuccession is wrapped by every refusal of what connects a log with its successor.
var ErrSuccession = errors.New("ledger: malformed succession")

// A Predecessor is what the genesis of a log says about the log that it continues: where that one ends, under its own
// signature. Its encoding is a deterministic CBOR map with text keys, in this order:
//
//	{? "lost": {"root": bstr, "size": uint, "checkpoint": bstr}, "root": bstr, "size": uint, "origin": text,
//	 "log_key": vkey, "checkpoint": bstr}
type Predecessor struct {
	Origin     string
	LogKey     string // signed-note verifier key of its checkpoints
	Size       uint64 // where it ends: all of its entries that exist
	Root       Hash
	Checkpoint []byte     // signed note for Size and Root
	Lost       *LostRange // nil if nothing of it is missing
}

// A LostRange says that the entries from Predecessor.Size up to, not including, Size were published and are gone.
type LostRange struct {
	Size       uint64
	Root       Hash
	Checkpoint []byte // signed note for Size and Root: the last that anyone has seen
}

// MarshalPredecessor returns the canonical bytes of p. Both checkpoints must verify under its key.
func MarshalPredecessor(p *Predecessor) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	b := appendPredecessor(nil, p)
	if len(b) > maxPredecessor {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrSuccession, len(b), ErrTooLarge)
	}
	return b, nil
}

func appendPredecessor(b []byte, p *Predecessor) []byte {
	if p.Lost == nil {
		b = appendItemHead(b, cborMap, 5)
	} else {
		b = appendItemHead(appendText(appendItemHead(b, cborMap, 6), "lost"), cborMap, 3)
		b = appendEnd(b, p.Lost.Size, p.Lost.Root)
		b = appendBytes(appendText(b, "checkpoint"), p.Lost.Checkpoint)
	}
	b = appendEnd(b, p.Size, p.Root)
	b = appendText(appendText(b, "origin"), p.Origin)
	b = appendText(appendText(b, "log_key"), p.LogKey)
	return appendBytes(appendText(b, "checkpoint"), p.Checkpoint)
}

func appendEnd(b []byte, size uint64, root Hash) []byte {
	b = appendBytes(appendText(b, "root"), root[:])
	return appendItemHead(appendText(b, "size"), cborUint, size)
}

// ParsePredecessor is the strict inverse of MarshalPredecessor.
func ParsePredecessor(data []byte) (*Predecessor, error) {
	if len(data) > maxPredecessor {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrSuccession, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	p := r.predecessor()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSuccession, err)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, nil
}

func (r *cborReader) predecessor() *Predecessor {
	p := new(Predecessor)
	pairs := r.mapOf(6)
	if pairs != 5 && pairs != 6 && r.err == nil {
		r.fail("predecessor with %d members", pairs)
	}
	if pairs == 6 {
		r.name("lost")
		r.container(cborMap, 3)
		p.Lost = new(LostRange)
		p.Lost.Size, p.Lost.Root = r.treeEnd()
		r.name("checkpoint")
		p.Lost.Checkpoint = append([]byte(nil), r.bytes(maxHeadNote)...)
	}
	p.Size, p.Root = r.treeEnd()
	r.name("origin")
	p.Origin = r.text(maxOrigin)
	r.name("log_key")
	p.LogKey = r.text(maxVKey)
	r.name("checkpoint")
	p.Checkpoint = append([]byte(nil), r.bytes(maxHeadNote)...)
	return p
}

func (r *cborReader) treeEnd() (size uint64, root Hash) {
	r.name("root")
	root = r.hash()
	r.name("size")
	return r.uint(1<<63 - 1), root
}

// check verifies both checkpoints under the predecessor's key and holds them against what p says.
func (p *Predecessor) check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrSuccession, fmt.Errorf(format, args...))
	}
	key, err := note.NewVerifier(p.LogKey)
	if err != nil || len(p.LogKey) > maxVKey || key.Name() != p.Origin {
		return fail("log key is not a verifier key named %.80q", p.Origin)
	}
	if p.Size == 0 {
		return fail("an empty log has no successor")
	}
	end := func(text []byte, size uint64, root Hash) error {
		if len(text) > maxHeadNote {
			return fail("checkpoint of %d octets", len(text))
		}
		c, err := OpenCheckpoint(text, p.Origin, key)
		if err != nil {
			return fail("%w", err)
		}
		if c.Size != size || c.Root != root {
			return fail("the checkpoint is for size %d, not %d", c.Size, size)
		}
		return nil
	}
	if err := end(p.Checkpoint, p.Size, p.Root); err != nil {
		return err
	}
	if p.Lost == nil {
		return nil
	}
	if p.Lost.Size <= p.Size {
		return fail("nothing is lost between %d and %d", p.Size, p.Lost.Size)
	}
	return end(p.Lost.Checkpoint, p.Lost.Size, p.Lost.Root)
}

// A LogClosed is the evidence of the last entry of a log: that it takes no more, and who continues it. Its encoding is
// a deterministic CBOR map: {"actors": [text, text], "reason": text, "successor": text}.
type LogClosed struct {
	Actors    []string // the two administrators, ids of principals
	Reason    string
	Successor string // origin of the log that continues this one
}

// MarshalLogClosed returns the canonical bytes of c.
func MarshalLogClosed(c *LogClosed) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	b := appendItemHead(nil, cborMap, 3)
	b = appendItemHead(appendText(b, "actors"), cborArray, uint64(len(c.Actors)))
	for _, a := range c.Actors {
		b = appendText(b, a)
	}
	b = appendText(appendText(b, "reason"), c.Reason)
	b = appendText(appendText(b, "successor"), c.Successor)
	if len(b) > maxClosed {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrSuccession, len(b), ErrTooLarge)
	}
	return b, nil
}

// ParseLogClosed is the strict inverse of MarshalLogClosed.
func ParseLogClosed(data []byte) (*LogClosed, error) {
	if len(data) > maxClosed {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrSuccession, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	c := new(LogClosed)
	r.container(cborMap, 3)
	r.name("actors")
	for range r.array(closedActors) {
		c.Actors = append(c.Actors, r.text(maxSubjectID))
	}
	r.name("reason")
	c.Reason = r.text(1024)
	r.name("successor")
	c.Successor = r.text(maxOrigin)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSuccession, err)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *LogClosed) check() error {
	fail := func(err error) error { return fmt.Errorf("%w: %w", ErrSuccession, err) }
	if len(c.Actors) != closedActors || c.Actors[0] == c.Actors[1] {
		return fail(errors.New("two administrators close a log"))
	}
	for _, text := range append([]string{c.Reason}, c.Actors...) {
		if err := checkText(text, 1024); err != nil {
			return fail(err)
		}
	}
	if err := CheckOrigin(c.Successor); err != nil {
		return fail(err)
	}
	return nil
}

// Continues reports whether a genesis continues the log that ended with a checkpoint: it names that log, size and root.
// OpenGenesis has verified the predecessor's signature; whether the key is the predecessor's is for the caller to know.
func (g *Genesis) Continues(end Checkpoint) error {
	p := g.Predecessor
	switch {
	case p == nil:
		return fmt.Errorf("%w: log %.80q continues none", ErrSuccession, g.Origin)
	case p.Origin != end.Origin || p.Size != end.Size || p.Root != end.Root:
		return fmt.Errorf("%w: log %.80q continues %.80q at size %d, not %.80q at %d", ErrSuccession, g.Origin, p.Origin,
			p.Size, end.Origin, end.Size)
	}
	return nil
}
