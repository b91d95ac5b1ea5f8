package model_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/ledgertest/model"
)

// TestReplay takes the model's ways through crashes, failed syncs and restores, and goes them with the real sequencer
// over a store that fails as the model says: after each start and each commit both agree about what is published, what
// was acknowledged, and whether the write latch is closed.
func TestReplay(t *testing.T) {
	most := 60
	if os.Getenv("SOAK") != "" {
		most = 5000
	}
	// The witness and parts of a restore are not the sequencer's: they are replayed by the model alone.
	bounds := model.Bounds{Changes: 4, Crashes: 3, Restores: 1}
	x := model.Explore(bounds)
	ways := map[string][]episode{}
	var names []string
	add := func(states []model.State, actions []string) {
		way, ok := episodes(states, actions)
		if name := fmt.Sprint(way); ok && ways[name] == nil {
			ways[name] = way
			names = append(names, name)
		}
	}
	x.Visit(func(s model.State) {
		states, actions := x.Way(s)
		switch {
		case s.Up && s.Phase == model.Idle && !s.Write:
			add(states, actions)
		case s.Up && s.Write: // every way on: the shortest way to what follows leaves the latch out
			for _, dead := range bounds.Steps(s) {
				if dead.To.Up {
					continue
				}
				for _, up := range bounds.Steps(dead.To) {
					if up.To.Up {
						add(append(slices.Clone(states), dead.To, up.To), append(slices.Clone(actions), dead.Action, up.Action))
					}
				}
			}
		}
	})
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	replayed, agreed := min(most, len(names)), 0
	faults := map[ledgertest.Fault]int{}
	for _, name := range names[:replayed] {
		t.Run("", func(t *testing.T) { agreed += replay(t, ways[name]) })
		for _, e := range ways[name] {
			if e.do == "commit" {
				faults[e.fault]++
			}
		}
	}
	t.Logf("model: %d different ways, %d replayed against the sequencer, %d states compared; commits %v", len(names), replayed,
		agreed, faults)
	for _, f := range []ledgertest.Fault{0, ledgertest.NotApplied, ledgertest.Applied, ledgertest.CrashBefore,
		ledgertest.CrashAfter} {
		if faults[f] == 0 {
			t.Errorf("no commit was %q", f)
		}
	}
}

// An episode is what the model's actions come to for the sequencer: a commit with what becomes of it, a start, a backup
// or a restore; and what holds afterwards.
type episode struct {
	do     string // "commit", "start", "back up", "restore"
	change uint8
	fault  ledgertest.Fault // of a commit; 0: none
	after  model.State
}

func (e episode) String() string { return fmt.Sprintf("%s %d %v", e.do, e.change, e.fault) }

// episodes translates a way. It reports false for one that the sequencer's store cannot go: with a view that lags
// behind or was restored alone, which is below it, or with a witness.
func episodes(states []model.State, actions []string) (out []episode, ok bool) {
	var doing *episode // the commit whose outcome is open
	end := func(survived bool, died bool) {
		if doing == nil {
			return
		}
		switch {
		case died && survived:
			doing.fault = ledgertest.CrashAfter
		case died:
			doing.fault = ledgertest.CrashBefore
		case survived:
			doing.fault = ledgertest.Applied
		default:
			doing.fault = ledgertest.NotApplied
		}
	}
	died := false
	for i, action := range actions {
		s := states[i]
		verb, _, _ := strings.Cut(action, " ")
		switch {
		case verb == "begin":
			out = append(out, episode{do: "commit", change: s.Doing})
			doing, died = &out[len(out)-1], false
		case verb == "publish":
			doing.after, doing = s, nil
		case action == "sync fails":
			doing.after = s
		case verb == "kill" || verb == "power":
			died = died || doing != nil && !doing.after.Write
		case verb == "recover":
			if doing != nil {
				end(s.Mem.Has(doing.change), died)
				doing = nil
			}
			out = append(out, episode{do: "start", after: s})
		case verb == "back":
			out = append(out, episode{do: "back up", after: s})
		case action == "restore everything":
			if doing != nil {
				return nil, false // what the disk held is gone: nobody can say what became of the commit
			}
			out = append(out, episode{do: "restore", after: s})
		case verb == "restore" || verb == "cosign" || verb == "witness":
			return nil, false
		}
		if s.Integrity {
			return nil, false
		}
	}
	return out, doing == nil
}

// A replica is the sequencer on the model's way.
type replica struct {
	t      *testing.T
	keys   *ledgertest.Keys
	vault  *ledgertest.Vault
	memory *ledgertest.Memory
	backup *ledgertest.Memory
	fault  *ledgertest.FaultStore
	log    *ledgertest.Log
	acked  uint16
}

func (r *replica) start() {
	r.t.Helper()
	if r.log != nil {
		_ = r.log.Stop()
	}
	r.fault = ledgertest.NewFaultStore(r.memory.Open())
	r.log = ledgertest.NewLog(r.t, ledgertest.Options{Store: r.fault, Keys: r.keys, Vault: r.vault})
}

// replay goes one way and returns how many states it compared.
func replay(t *testing.T, way []episode) (compared int) {
	r := &replica{t: t, keys: ledgertest.NewKeys(t, "log.a.example/log/1"), vault: ledgertest.NewVault(),
		memory: ledgertest.NewMemory()}
	r.start()
	dead := false
	for i, e := range way {
		switch e.do {
		case "commit":
			dead = r.commit(e)
			if e.fault != 0 && dead {
				continue // there is nobody to ask
			}
		case "start":
			r.start()
		case "back up":
			r.backup = r.memory.Fork()
		case "restore":
			r.memory = r.backup.Fork()
			continue
		}
		if err := r.compare(e.after); err != nil {
			t.Fatalf("after %v: %v", way[:i+1], err)
		}
		compared++
	}
	ledgertest.CheckLog(t, r.log, r.keys.VKey)
	return compared
}

// commit commits a change under the fault of its episode and reports whether the writer died of it.
func (r *replica) commit(e episode) (died bool) {
	r.t.Helper()
	if e.fault != 0 {
		r.fault.Inject(1, e.fault)
	}
	body := []byte{e.change}
	_, err := r.log.Commit(r.t.Context(), ledger.Change{Entries: []ledger.Entry{r.keys.WithBody(r.t, "m", body)}})
	if (err == nil) != (e.fault == 0) {
		r.t.Fatalf("%v: %v", e, err)
	}
	if err == nil {
		r.acked |= 1 << e.change
	}
	return e.fault == ledgertest.CrashBefore || e.fault == ledgertest.CrashAfter
}

// compare holds the log against a state of the model.
func (r *replica) compare(want model.State) error {
	v, err := r.log.View()
	if err != nil {
		return err
	}
	defer v.Close()
	var have model.History
	for i := uint64(1); i < v.Head().Size; i++ { // entry 0 is the genesis
		e, err := v.Entry(i)
		if err != nil {
			return err
		}
		st, err := ledger.ParseStatement(e.Statement)
		if err != nil {
			return err
		}
		body, err := v.Body(st.Digest)
		if err != nil || len(body) != 1 {
			return fmt.Errorf("body %x: %w", body, err)
		}
		have = have.Append(body[0])
	}
	h := r.log.Health()
	switch {
	case have != want.Published:
		return fmt.Errorf("%s is published, the model has %s", have, want.Published)
	case r.acked != want.Acked:
		return fmt.Errorf("acknowledged are %b, in the model %b", r.acked, want.Acked)
	case (h.Write != nil) != want.Write || h.Integrity != nil:
		return fmt.Errorf("health %+v, in the model the write latch is closed: %t", h, want.Write)
	}
	return nil
}
