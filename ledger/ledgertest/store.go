package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mission-authority/mas/ledger"
)

// A Place is where one store of an engine lives. Calling it opens the store, which is empty the first time and has what
// was applied before at every later time. TestStore closes a store before it opens the place again.
type Place func() (ledger.Store, error)

// TestStore is the contract of ledger.Store as tests. Every engine passes it. fresh returns a new, empty Place.
func TestStore(t *testing.T, fresh func(t *testing.T) Place) {
	for _, c := range []struct {
		name string
		test func(*storeTest)
	}{
		{"empty", (*storeTest).empty},
		{"everything of a batch can be read", (*storeTest).everything},
		{"iteration", (*storeTest).iteration},
		{"snapshots do not move", (*storeTest).isolation},
		{"only the expected head is extended", (*storeTest).expectation},
		{"reopening", (*storeTest).reopening},
		{"tiles survive reopening", (*storeTest).tiles},
		{"too large is refused whole", (*storeTest).tooLarge},
		{"rows are overwritten, empty values stay", (*storeTest).overwrite},
		{"the batch is the caller's again", (*storeTest).aliasing},
		{"ended context", (*storeTest).ended},
		{"readers beside the writer", (*storeTest).readers},
		{"closed", (*storeTest).closedStore},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &storeTest{T: t, place: fresh(t)}
			s.open()
			c.test(s)
			if s.store != nil {
				s.close()
			}
		})
	}
}

// storeTest is one test over one place. model is what the store should hold.
type storeTest struct {
	*testing.T
	place Place
	store ledger.Store
	chain *Chain
	model map[string]string
}

func (s *storeTest) open() {
	s.Helper()
	var err error
	if s.store, err = s.place(); err != nil {
		s.Fatalf("open: %v", err)
	}
	if s.chain == nil {
		s.chain, s.model = NewChain(s, s.store.Head()), make(map[string]string)
	}
}

func (s *storeTest) close() {
	s.Helper()
	if err := s.store.Close(); err != nil {
		s.Fatalf("close: %v", err)
	}
	s.store = nil
}

// apply applies the next batch and adds it to the model.
func (s *storeTest) apply(rows []ledger.Row, bodies []ledger.SealedBody, entries ...ledger.Entry) *ledger.Batch {
	s.Helper()
	expect := s.chain.Head
	b := s.chain.Next(rows, bodies, entries...)
	for _, kv := range b.KVs() {
		s.model[string(kv.Key)] = string(kv.Value)
	}
	if err := s.store.Apply(s.Context(), b, expect); err != nil {
		s.Fatalf("apply group %d: %v", b.Head.Seq, err)
	}
	if h := s.store.Head(); !sameHead(h, b.Head) {
		s.Fatalf("head is %+v after applying %+v", h, b.Head)
	}
	return b
}

func sameHead(a, b ledger.Head) bool {
	return a.Seq == b.Seq && a.Size == b.Size && a.Root == b.Root && a.Epoch == b.Epoch && a.At.Equal(b.At)
}

func (s *storeTest) entries(n int) []ledger.Entry {
	s.Helper()
	out := make([]ledger.Entry, n)
	for i := range out {
		out[i] = s.chain.Keys.Entry(s, fmt.Sprintf("m%d", i%3), fmt.Appendf(nil, "%d/%d", s.chain.Head.Seq, i))
	}
	return out
}

func (s *storeTest) snapshot() ledger.Snapshot {
	s.Helper()
	snap, err := s.store.Snapshot()
	if err != nil {
		s.Fatalf("snapshot: %v", err)
	}
	s.Cleanup(snap.Close)
	return snap
}

// matches fails unless the snapshot holds exactly the model, by point reads and by iteration over each prefix.
func (s *storeTest) matches(snap ledger.Snapshot, model map[string]string) {
	s.Helper()
	for key, want := range model {
		if got, err := snap.Get([]byte(key)); err != nil || string(got) != want {
			s.Fatalf("key %q has %d octets, want %d: %v", key, len(got), len(want), err)
		}
	}
	for _, prefix := range []byte("edlftcrhbm") {
		var want, got []string
		for _, key := range slices.Sorted(maps.Keys(model)) {
			if key[0] == prefix {
				want = append(want, key)
			}
		}
		for kv, err := range snap.Iterate([]byte{prefix}, nil) {
			if err != nil {
				s.Fatalf("iterating %q: %v", prefix, err)
			}
			got = append(got, string(kv.Key))
			if model[string(kv.Key)] != string(kv.Value) {
				s.Fatalf("key %q is iterated with another value", kv.Key)
			}
		}
		if !slices.Equal(got, want) {
			s.Fatalf("prefix %q yields %d keys, want %d in order", prefix, len(got), len(want))
		}
	}
}

func (s *storeTest) empty() {
	s.matches(s.snapshot(), nil)
	if _, err := s.snapshot().Get(ledger.HeadKey()); !errors.Is(err, ledger.ErrNotFound) {
		s.Fatalf("head of an empty store: %v", err)
	}
	if l := s.store.Limits(); l.Bytes < 1<<20 || l.Entries < 256 {
		s.Fatalf("limits %+v leave no room for a group", l)
	}
	first := s.store.Head().Epoch
	s.close()
	s.open()
	if h := s.store.Head(); h.Seq != 0 || h.Size != 0 || h.Epoch <= first {
		s.Fatalf("head %+v after reopening an empty store of epoch %d", h, first)
	}
}

func (s *storeTest) everything() {
	body := ledger.SealedBody{Digest: ledger.Hash{1}, Sealed: []byte("sealed")}
	s.apply([]ledger.Row{{Key: "a", Value: []byte("1"), Justified: true, JustifiedBy: 0}}, []ledger.SealedBody{body},
		s.entries(1)...)
	s.matches(s.snapshot(), s.model)
	s.apply([]ledger.Row{{Key: "b", Value: []byte("only rows")}}, nil)
	s.matches(s.snapshot(), s.model)
	s.apply(nil, nil, s.entries(40)...)
	s.matches(s.snapshot(), s.model)
}

func (s *storeTest) iteration() {
	var rows []ledger.Row
	for _, key := range []string{"a", "a/1", "a/2", "a/2\x00", "a/3", "a0", "b", "\xff", "\xff\xff", "a/\xff"} {
		rows = append(rows, ledger.Row{Key: key, Value: []byte(key)})
	}
	s.apply(rows, nil)
	keys := func(prefix, start string) string {
		var p, at []byte
		if p = append([]byte{ledger.PrefixRow}, prefix...); start != "" {
			at = append([]byte{ledger.PrefixRow}, start...)
		}
		var got []string
		for kv, err := range s.snapshot().Iterate(p, at) {
			if err != nil {
				s.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%q", kv.Key[1:]))
		}
		return strings.Join(got, " ")
	}
	for _, c := range []struct{ prefix, start, want string }{
		{"a/", "", `"a/1" "a/2" "a/2\x00" "a/3" "a/\xff"`},
		{"a/", "a/2", `"a/2" "a/2\x00" "a/3" "a/\xff"`},
		{"a/", "a/2\x00", `"a/2\x00" "a/3" "a/\xff"`},
		{"a/", "a/2\x00\x00", `"a/3" "a/\xff"`},
		{"a/", "Z", `"a/1" "a/2" "a/2\x00" "a/3" "a/\xff"`}, // before the prefix
		{"a/", "a0", ``}, // behind it
		{"a/", "b", ``},
		{"\xff", "", `"\xff" "\xff\xff"`},
		{"\xff\xff", "", `"\xff\xff"`},
		{"c", "", ``},
		{"", "a0", `"a0" "b" "\xff" "\xff\xff"`},
	} {
		if got := keys(c.prefix, c.start); got != c.want {
			s.Errorf("prefix %q from %q yields %s, want %s", c.prefix, c.start, got, c.want)
		}
	}
	for kv, err := range s.snapshot().Iterate([]byte{ledger.PrefixRow}, nil) { // stopping early is allowed
		if err != nil || string(kv.Key) != "ra" {
			s.Errorf("first row is %q: %v", kv.Key, err)
		}
		break
	}
}

func (s *storeTest) isolation() {
	before := s.snapshot()
	s.matches(before, nil)
	s.apply([]ledger.Row{{Key: "k", Value: []byte("1")}}, nil, s.entries(2)...)
	first, model := s.snapshot(), maps.Clone(s.model)
	s.apply([]ledger.Row{{Key: "k", Version: 2, Value: []byte("2")}}, nil, s.entries(2)...)
	s.matches(before, nil)
	s.matches(first, model)
	s.matches(s.snapshot(), s.model)
}

func (s *storeTest) expectation() {
	s.apply(nil, nil, s.entries(3)...)
	good := s.chain.Head
	for name, change := range map[string]func(*ledger.Head){
		"number": func(h *ledger.Head) { h.Seq++ },
		"size":   func(h *ledger.Head) { h.Size-- },
		"root":   func(h *ledger.Head) { h.Root[0] ^= 1 },
		"epoch":  func(h *ledger.Head) { h.Epoch-- },
	} {
		other := good
		change(&other)
		fork := *s.chain
		fork.edge = s.chain.edge.Clone()
		b := fork.Next(nil, nil, s.entries(1)...)
		if err := s.store.Apply(s.Context(), b, other); err == nil {
			s.Fatalf("a batch was applied over a head with another %s", name)
		} else if errors.Is(err, ledger.ErrOutcomeUnknown) {
			s.Fatalf("refusing another %s poisons: %v", name, err)
		}
		s.matches(s.snapshot(), s.model)
	}
	s.apply(nil, nil, s.entries(1)...) // the right head still works
	s.matches(s.snapshot(), s.model)
}

func (s *storeTest) reopening() {
	for round := range 3 {
		s.apply([]ledger.Row{{Key: "k", Version: uint64(round) + 1, Value: []byte{byte(round)}}}, nil, s.entries(5)...)
		s.close()
		s.open()
		h := s.store.Head()
		if h.Epoch <= s.chain.Head.Epoch {
			s.Fatalf("epoch %d after epoch %d", h.Epoch, s.chain.Head.Epoch)
		}
		s.chain.Head.Epoch = h.Epoch
		if !sameHead(h, s.chain.Head) {
			s.Fatalf("head is %+v after reopening, was %+v", h, s.chain.Head)
		}
		s.matches(s.snapshot(), s.model)
	}
}

func (s *storeTest) tiles() {
	for range 5 {
		s.apply(nil, nil, s.entries(130)...)
	}
	if s.model[string(ledger.TileKey(0, 1))] == "" {
		s.Fatal("the chain made no second tile")
	}
	s.matches(s.snapshot(), s.model)
	s.close()
	s.open()
	s.matches(s.snapshot(), s.model)
}

func (s *storeTest) tooLarge() {
	s.apply(nil, nil, s.entries(1)...)
	expect := s.chain.Head
	refused := func(what string, b *ledger.Batch) {
		s.Helper()
		if err := s.store.Apply(s.Context(), b, expect); !errors.Is(err, ledger.ErrTooLarge) {
			s.Fatalf("%s: %v", what, err)
		}
		s.matches(s.snapshot(), s.model)
	}
	var rows []ledger.Row
	for i := range s.store.Limits().Bytes/ledger.MaxRowValue + 1 {
		rows = append(rows, ledger.Row{Key: fmt.Sprintf("big/%d", i), Value: make([]byte, ledger.MaxRowValue)})
	}
	fork := *s.chain
	fork.edge = s.chain.edge.Clone()
	refused("octets", fork.Next(rows, nil, s.entries(1)...))

	fork = *s.chain
	fork.edge = s.chain.edge.Clone()
	one := s.entries(1)
	many := slices.Repeat(one, s.store.Limits().Entries+1)
	refused("entries", fork.Next(nil, nil, many...))
	s.apply(nil, nil, s.entries(1)...)
	s.matches(s.snapshot(), s.model)
}

func (s *storeTest) overwrite() {
	s.apply([]ledger.Row{{Key: "k", Value: bytes.Repeat([]byte("long"), 1000)}, {Key: "gone", Value: []byte("x")}}, nil)
	s.apply([]ledger.Row{{Key: "k", Version: 2, Value: []byte("short")}, {Key: "gone", Version: 2}}, nil)
	s.matches(s.snapshot(), s.model)
	s.close()
	s.open()
	s.matches(s.snapshot(), s.model)
}

func (s *storeTest) aliasing() {
	expect := s.chain.Head
	value, entry := []byte("value"), s.entries(1)
	b := s.chain.Next([]ledger.Row{{Key: "k", Value: value}}, nil, entry...)
	for _, kv := range b.KVs() {
		s.model[string(kv.Key)] = string(kv.Value)
	}
	if err := s.store.Apply(s.Context(), b, expect); err != nil {
		s.Fatal(err)
	}
	copy(value, "xxxxx")
	clear(entry[0].Statement)
	clear(b.Checkpoint)
	s.matches(s.snapshot(), s.model)
}

func (s *storeTest) ended() {
	s.apply(nil, nil, s.entries(1)...)
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	before, expect := s.chain.Head, s.chain.Head
	fork := *s.chain
	fork.edge = s.chain.edge.Clone()
	b := fork.Next([]ledger.Row{{Key: "k", Value: []byte("v")}}, nil, s.entries(1)...)
	switch err := s.store.Apply(ctx, b, expect); {
	case err == nil: // an engine may ignore the context, but then the batch is there
		for _, kv := range b.KVs() {
			s.model[string(kv.Key)] = string(kv.Value)
		}
	case errors.Is(err, ledger.ErrOutcomeUnknown):
		s.Fatalf("an ended context leaves the outcome open: %v", err)
	case !sameHead(s.store.Head(), before):
		s.Fatalf("%v, but the head moved", err)
	}
	s.matches(s.snapshot(), s.model)
}

// readers checks under load that every snapshot is one group: head and rows of it belong together.
func (s *storeTest) readers() {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.oneGroup(); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	for i := range 50 {
		v := []byte{byte(i + 1)}
		s.apply([]ledger.Row{{Key: "x", Version: uint64(i) + 1, Value: v}, {Key: "y", Version: uint64(i) + 1, Value: v}}, nil,
			s.entries(1)...)
	}
	close(stop)
	wg.Wait()
}

func (s *storeTest) oneGroup() error {
	snap, err := s.store.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	value, err := snap.Get(ledger.HeadKey())
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	head, _, err := ledger.ParseHead(value)
	if err != nil {
		return err
	}
	var inner sync.WaitGroup // one snapshot serves several readers
	errs := make([]error, 3)
	for i, key := range []string{"x", "y", "x"} {
		inner.Go(func() {
			raw, err := snap.Get(ledger.RowKey(key))
			if err == nil {
				var row ledger.Row
				if row, err = ledger.ParseRow(key, raw); err == nil && row.Version != head.Seq {
					err = fmt.Errorf("row %q has version %d in the snapshot of group %d", key, row.Version, head.Seq)
				}
			}
			errs[i] = err
		})
	}
	inner.Wait()
	return errors.Join(errs...)
}

func (s *storeTest) closedStore() {
	s.apply(nil, nil, s.entries(1)...)
	store, expect := s.store, s.chain.Head
	s.close()
	if err := store.Apply(s.Context(), s.chain.Next(nil, nil, s.entries(1)...), expect); err == nil {
		s.Error("a closed store takes batches")
	}
	if snap, err := store.Snapshot(); err == nil {
		snap.Close()
		s.Error("a closed store opens snapshots")
	}
}
