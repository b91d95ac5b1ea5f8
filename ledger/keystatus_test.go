package ledger_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mission-authority/mas/ledger"
)

// testKeyStatus is the status of a log that has rotated its checkpoint key and lost a receipt key to somebody.
func testKeyStatus(t testing.TB) *ledger.KeyStatus {
	t.Helper()
	return &ledger.KeyStatus{
		Issuer: testIssuer, Origin: testOrigin, Version: 4, MaxAge: 3600,
		Keys: []ledger.KeyRecord{
			{Role: "checkpoint", Key: mustKey(t, seedKey(1).Public()), State: ledger.KeyStateRetired, NotAfter: 1_800_000_100},
			{Role: "checkpoint", Key: mustKey(t, seedKey(2).Public()), State: ledger.KeyStateActive, NotBefore: 1_800_000_000},
			{Role: "receipts", Key: mustKey(t, p256Key(t, 3).Public()), State: ledger.KeyStateCompromised,
				NotAfter: 1_800_000_300, CompromisedAt: 1_800_000_200},
			{Role: "receipts", Key: mustKey(t, p256Key(t, 5).Public()), State: ledger.KeyStateActive, NotBefore: 1_800_000_300},
			{Role: "evidence", Key: mustKey(t, p256Key(t, 4).Public()), State: ledger.KeyStateActive},
			{Role: "governance", Key: mustKey(t, p256Key(t, 6).Public()), State: ledger.KeyStateCompromised,
				NotBefore: 1_700_000_000, NotAfter: 1_800_000_300},
		},
	}
}

func mustMarshalKeyStatus(t testing.TB, s *ledger.KeyStatus) []byte {
	t.Helper()
	data, err := ledger.MarshalKeyStatus(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestKeyStatusRoundTrip(t *testing.T) {
	data := mustMarshalKeyStatus(t, testKeyStatus(t))
	s, err := ledger.ParseKeyStatus(data)
	if err != nil {
		t.Fatal(err)
	}
	if again := mustMarshalKeyStatus(t, s); !bytes.Equal(again, data) {
		t.Errorf("second encoding differs:\n%x\n%x", again, data)
	}
	if s.Version != 4 || len(s.Keys) != 6 || s.Issuer != testIssuer || s.Origin != testOrigin {
		t.Errorf("%+v", s)
	}
	for i := range data { // every cut is refused
		if _, err := ledger.ParseKeyStatus(data[:i]); !errors.Is(err, ledger.ErrKeyStatus) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	// An independent decoder reads the same members, in deterministic order.
	var plain struct {
		Keys    []map[string]any `cbor:"keys"`
		Version uint64           `cbor:"version"`
		MaxAge  uint64           `cbor:"max_age"`
	}
	if err := cbor.Unmarshal(data, &plain); err != nil || len(plain.Keys) != 6 || plain.Version != 4 || plain.MaxAge != 3600 {
		t.Errorf("%v: %+v", err, plain)
	}
}

func TestKeyStatusRefuses(t *testing.T) {
	for name, change := range map[string]func(*ledger.KeyStatus){
		"no version":          func(s *ledger.KeyStatus) { s.Version = 0 },
		"for ever":            func(s *ledger.KeyStatus) { s.MaxAge = 0 },
		"too long":            func(s *ledger.KeyStatus) { s.MaxAge = ledger.KeyStatusAge + 1 },
		"no keys":             func(s *ledger.KeyStatus) { s.Keys = nil },
		"a key twice":         func(s *ledger.KeyStatus) { s.Keys = append(s.Keys, s.Keys[0]) },
		"unknown status":      func(s *ledger.KeyStatus) { s.Keys[0].State = "fine" },
		"role":                func(s *ledger.KeyStatus) { s.Keys[0].Role = "Check Point" },
		"active until":        func(s *ledger.KeyStatus) { s.Keys[1].NotAfter = 1_900_000_000 },
		"retired, no end":     func(s *ledger.KeyStatus) { s.Keys[0].NotAfter = 0 },
		"retired, boundary":   func(s *ledger.KeyStatus) { s.Keys[0].CompromisedAt = 1_800_000_000 },
		"ends before it is":   func(s *ledger.KeyStatus) { s.Keys[5].NotBefore = 1_900_000_000 },
		"negative":            func(s *ledger.KeyStatus) { s.Keys[1].NotBefore = -1 },
		"issuer":              func(s *ledger.KeyStatus) { s.Issuer = "" },
		"origin with a space": func(s *ledger.KeyStatus) { s.Origin = "a b" },
	} {
		s := testKeyStatus(t)
		change(s)
		if _, err := ledger.MarshalKeyStatus(s); !errors.Is(err, ledger.ErrKeyStatus) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSignedKeyStatus: the served status is signed, versioned, and out of date after its max_age.
//
// Audit rows: 101.
func TestSignedKeyStatus(t *testing.T) {
	governance := ledger.KeySet{mustKey(t, p256Key(t, 9).Public())}
	at := time.Unix(1_800_001_000, 0)
	data, err := ledger.SignKeyStatus(t.Context(), mustMarshalKeyStatus(t, testKeyStatus(t)), at, newSigner(t, p256Key(t, 9)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ledger.OpenKeyStatus(data, testIssuer, governance)
	if err != nil {
		t.Fatal(err)
	}
	if s.Version != 4 || !s.SignedAt.Equal(at) || !bytes.Equal(s.KeyID, governance[0].ID) {
		t.Errorf("%+v", s)
	}
	for age, stale := range map[time.Duration]bool{
		0: false, time.Hour: false, time.Hour + time.Second: true, -time.Minute: false, -time.Hour: true,
	} {
		if err := s.Current(at.Add(age)); errors.Is(err, ledger.ErrStale) != stale {
			t.Errorf("age %s: %v", age, err)
		}
	}
	if _, err := ledger.OpenKeyStatus(data, "https://other.example", governance); !errors.Is(err, ledger.ErrKeyStatus) {
		t.Errorf("for another issuer: %v", err)
	}
	if _, err := ledger.OpenKeyStatus(data, testIssuer, ledger.KeySet{mustKey(t, p256Key(t, 4).Public())}); !errors.Is(err,
		ledger.ErrUnknownKey) {
		t.Errorf("by a key of another role: %v", err)
	}
	for i := range data { // no octet can be changed
		flipped := bytes.Clone(data)
		flipped[i] ^= 1
		if _, err := ledger.OpenKeyStatus(flipped, testIssuer, governance); err == nil {
			t.Fatalf("octet %d was changed and the status opens", i)
		}
	}
}

func FuzzParseKeyStatus(f *testing.F) {
	f.Add(mustMarshalKeyStatus(f, testKeyStatus(f)))
	one := testKeyStatus(f)
	one.Keys, one.Version = one.Keys[4:5], 1
	f.Add(mustMarshalKeyStatus(f, one))
	f.Add([]byte{0xa6})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ledger.ParseKeyStatus(data)
		if err != nil {
			return
		}
		if again := mustMarshalKeyStatus(t, s); !bytes.Equal(again, data) {
			t.Fatalf("two encodings:\n%x\n%x", data, again)
		}
	})
}
