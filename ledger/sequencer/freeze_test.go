package sequencer_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/sequencer"
)

// closing is the entry that closes the log of k.
func closing(t testing.TB, k *ledgertest.Keys) ledger.Entry {
	t.Helper()
	body, err := ledger.MarshalLogClosed(&ledger.LogClosed{
		Actors: []string{"admin", "admin-2"}, Reason: "end of the half-year", Successor: "log.a.example/log/2",
	})
	if err != nil {
		t.Fatal(err)
	}
	subject, err := ledger.Subject(k.Issuer, ledger.SubjectLog, "")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ledger.SignStatement(t.Context(), ledger.Claims{
		Issuer: k.Issuer, Subject: subject, ContentType: ledger.ContentTypeLogClosed, Digest: sha256.Sum256(body),
	}, k.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Entry{Statement: raw, Body: body}
}

// TestFreeze closes a log under load: whatever was acknowledged stands before the closing entry, which is the last;
// everything else is refused, then and after the next start; reads go on.
func TestFreeze(t *testing.T) {
	disk := ledgertest.NewMemory()
	keys := ledgertest.NewKeys(t, "log.a.example/log/1")
	vault := ledgertest.NewVault()
	open := func() *ledgertest.Log {
		t.Helper()
		l, err := ledgertest.OpenLog(t, ledgertest.Options{Store: disk.Open(), Keys: keys, Vault: vault})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	last := closing(t, keys)
	if _, err := l.Commit(t.Context(), ledger.Change{Entries: []ledger.Entry{last}}); !errors.Is(err, sequencer.ErrInvalid) {
		t.Fatalf("an entry that closes the log, by a plain commit: %v", err)
	}
	if _, err := l.Freeze(t.Context(), keys.WithBody(t, "m", []byte("x"))); !errors.Is(err, sequencer.ErrInvalid) {
		t.Fatalf("freezing with something else: %v", err)
	}
	var writers sync.WaitGroup
	var mu sync.Mutex
	acked := uint64(0)
	for n := range 8 {
		writers.Go(func() {
			for i := 0; ; i++ {
				done, err := l.Commit(t.Context(), ledger.Change{Entries: []ledger.Entry{
					keys.WithBody(t, "m", fmt.Appendf(nil, "%d/%d", n, i))}})
				if err != nil {
					if !errors.Is(err, ledger.ErrFrozen) || !errors.Is(err, ledger.ErrUnavailable) {
						t.Errorf("refused with %v", err)
					}
					return
				}
				mu.Lock()
				acked = max(acked, done.Results[0].Index)
				mu.Unlock()
				if i == 20 && n == 0 {
					if _, err := l.Freeze(t.Context(), last); err != nil {
						t.Errorf("Freeze: %v", err)
					}
				}
			}
		})
	}
	writers.Wait()
	check := func(l *ledgertest.Log) {
		t.Helper()
		v, err := l.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		size := v.Head().Size
		e, err := v.Entry(size - 1)
		if err != nil || string(e.Statement) != string(last.Statement) || acked >= size-1 {
			t.Errorf("entry %d of %d is not the closing one, %d was acknowledged: %v", size-1, size, acked, err)
		}
		if w := l.Health().Write; w == nil || w.Code != sequencer.CodeLogFrozen || l.Health().Integrity != nil {
			t.Errorf("%+v", l.Health())
		}
		if _, err := l.Commit(t.Context(), ledger.Change{Entries: []ledger.Entry{keys.Entry(t, "m", []byte("late"))}}); !errors.Is(
			err, ledger.ErrFrozen) {
			t.Errorf("a frozen log takes an entry: %v", err)
		}
		if _, err := l.Freeze(t.Context(), last); !errors.Is(err, ledger.ErrFrozen) {
			t.Errorf("frozen twice: %v", err)
		}
		ledgertest.CheckLog(t, l, keys.VKey)
	}
	check(l)
	if err := l.Stop(); err != nil && !errors.Is(err, ledger.ErrUnavailable) {
		t.Fatal(err)
	}
	check(open())
}
