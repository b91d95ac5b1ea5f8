package ledger_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/mission-authority/mas/ledger"
)

func testSuccession(t testing.TB) *ledger.Succession {
	t.Helper()
	return &ledger.Succession{
		Issuer: testIssuer, Origin: testOrigin, Role: "evidence", Reason: ledger.SuccessionRotation,
		Old: mustKey(t, p256Key(t, 4).Public()), New: mustKey(t, p256Key(t, 8).Public()), Effective: 1_800_000_000,
		By: [2]string{"admin-1", "admin-2"},
	}
}

// TestSuccession: the old and the new key both sign, and neither signature can be of another key or about anything
// else.
func TestSuccession(t *testing.T) {
	old, fresh := newSigner(t, p256Key(t, 4)), newSigner(t, p256Key(t, 8))
	want := testSuccession(t)
	data, err := ledger.SignSuccession(t.Context(), want, old, fresh)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ledger.ParseSuccession(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Role != want.Role || got.By != want.By || got.Effective != want.Effective || got.Reason != want.Reason ||
		!bytes.Equal(got.Old.ID, want.Old.ID) || !bytes.Equal(got.New.ID, want.New.ID) || got.Origin != want.Origin {
		t.Errorf("%+v", got)
	}
	for i := range data { // no octet can be changed: everything is under both signatures
		flipped := bytes.Clone(data)
		flipped[i] ^= 1
		if _, err := ledger.ParseSuccession(flipped); !errors.Is(err, ledger.ErrKeySuccession) {
			t.Fatalf("octet %d was changed: %v", i, err)
		}
		if _, err := ledger.ParseSuccession(data[:i]); !errors.Is(err, ledger.ErrKeySuccession) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}

	// Somebody who does not hold the new key cannot announce it, and a rotation without the old key is none.
	if _, err := ledger.SignSuccession(t.Context(), want, old, old); !errors.Is(err, ledger.ErrKeySuccession) {
		t.Errorf("signed by the old key twice: %v", err)
	}
	if _, err := ledger.SignSuccession(t.Context(), want, fresh, fresh); !errors.Is(err, ledger.ErrKeySuccession) {
		t.Errorf("signed by the new key twice: %v", err)
	}
	if _, err := ledger.SignSuccession(t.Context(), want, nil, fresh); !errors.Is(err, ledger.ErrKeySuccession) {
		t.Errorf("rotation without the old key: %v", err)
	}
	want.Reason = ledger.SuccessionCompromise
	if _, err := ledger.SignSuccession(t.Context(), want, old, fresh); !errors.Is(err, ledger.ErrKeySuccession) {
		t.Errorf("a compromised key vouches: %v", err)
	}
	if data, err = ledger.SignSuccession(t.Context(), want, nil, fresh); err != nil {
		t.Errorf("after a compromise: %v", err)
	}
	if got, err = ledger.ParseSuccession(data); err != nil || got.Reason != ledger.SuccessionCompromise {
		t.Errorf("after a compromise: %v", err)
	}
}

func TestSuccessionRefuses(t *testing.T) {
	old, fresh := newSigner(t, p256Key(t, 4)), newSigner(t, p256Key(t, 8))
	for name, change := range map[string]func(*ledger.Succession){
		"one administrator": func(s *ledger.Succession) { s.By[1] = s.By[0] },
		"no administrator":  func(s *ledger.Succession) { s.By = [2]string{} },
		"not sorted":        func(s *ledger.Succession) { s.By = [2]string{"b", "a"} },
		"itself":            func(s *ledger.Succession) { s.New = s.Old },
		"another kind":      func(s *ledger.Succession) { s.New = mustKey(t, seedKey(1).Public()) },
		"reason":            func(s *ledger.Succession) { s.Reason = "boredom" },
		"no time":           func(s *ledger.Succession) { s.Effective = 0 },
		"role":              func(s *ledger.Succession) { s.Role = "" },
		"issuer":            func(s *ledger.Succession) { s.Issuer = "" },
		"origin":            func(s *ledger.Succession) { s.Origin = "a b" },
	} {
		s := testSuccession(t)
		change(s)
		if _, err := ledger.SignSuccession(t.Context(), s, old, fresh); !errors.Is(err, ledger.ErrKeySuccession) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseSuccession(f *testing.F) {
	for _, reason := range []string{ledger.SuccessionRotation, ledger.SuccessionLoss} {
		s := testSuccession(f)
		s.Reason = reason
		old := newSigner(f, p256Key(f, 4))
		if reason != ledger.SuccessionRotation {
			old = nil
		}
		data, err := ledger.SignSuccession(f.Context(), s, old, newSigner(f, p256Key(f, 8)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ledger.ParseSuccession(data)
		if err == nil && (s.By[0] >= s.By[1] || s.Effective <= 0 || bytes.Equal(s.Old.ID, s.New.ID)) {
			t.Fatalf("accepted: %+v", s)
		}
	})
}
