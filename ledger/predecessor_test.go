package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/mission-authority/mas/ledger"
	"golang.org/x/mod/sumdb/note"
)

const oldOrigin = "as.example/log/2025h2"

// oldLog signs checkpoints of the predecessor.
func oldLog(t testing.TB) (vkey string, sign func(size uint64, root ledger.Hash) []byte) {
	t.Helper()
	seed := seedKey(9)
	vkey, err := note.NewEd25519VerifierKey(oldOrigin, seed.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	s := edSigner{name: oldOrigin, key: seed, vkey: vkey}
	return vkey, func(size uint64, root ledger.Hash) []byte {
		text, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: oldOrigin, Size: size, Root: root}, s)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}

// edSigner is a note.Signer over a seed.
type edSigner struct {
	name, vkey string
	key        ed25519.PrivateKey
}

func (s edSigner) Name() string { return s.name }

func (s edSigner) KeyHash() uint32 {
	v, err := note.NewVerifier(s.vkey)
	if err != nil {
		panic(err)
	}
	return v.KeyHash()
}

func (s edSigner) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

func testPredecessor(t testing.TB, lost bool) *ledger.Predecessor {
	t.Helper()
	vkey, sign := oldLog(t)
	p := &ledger.Predecessor{Origin: oldOrigin, LogKey: vkey, Size: 70, Root: ledger.Hash{7}}
	p.Checkpoint = sign(p.Size, p.Root)
	if lost {
		p.Lost = &ledger.LostRange{Size: 73, Root: ledger.Hash{8}, Checkpoint: sign(73, ledger.Hash{8})}
	}
	return p
}

// TestGenesisOfASuccessor: the genesis of a log that continues another one commits to where that one ended, in bytes
// that do not change, and says so only if that log signed it.
//
// Audit rows: 104.
func TestGenesisOfASuccessor(t *testing.T) {
	for _, c := range []struct {
		lost   bool
		golden string
	}{
		{false, "15bb94e018f9ac8cb00d872114a7e0f4549eafd74d97cc2cf89188658112f899"},
		{true, "21d951b2b570b28d8a23da9eb35eff501117da891e159138da9f16a6be087bff"},
	} {
		g := testGenesis(t)
		plain := mustMarshalGenesis(t, g)
		g.Predecessor = testPredecessor(t, c.lost)
		data := mustMarshalGenesis(t, g)
		if bytes.Equal(data, plain) {
			t.Fatal("the predecessor is not in the genesis")
		}
		if sum := sha256.Sum256(mustPredecessor(t, g.Predecessor)); hex.EncodeToString(sum[:]) != c.golden {
			t.Errorf("lost %v: the encoding changed: %x", c.lost, sum)
		}
		got, err := ledger.ParseGenesis(data)
		if err != nil {
			t.Fatal(err)
		}
		if again := mustMarshalGenesis(t, got); !bytes.Equal(again, data) {
			t.Error("it does not survive a round trip")
		}
		end := ledger.Checkpoint{Origin: oldOrigin, Size: 70, Root: ledger.Hash{7}}
		if err := got.Continues(end); err != nil {
			t.Error(err)
		}
		for _, other := range []ledger.Checkpoint{
			{Origin: oldOrigin, Size: 71, Root: end.Root}, {Origin: oldOrigin, Size: 70, Root: ledger.Hash{9}},
			{Origin: "b.example/log/x", Size: 70, Root: end.Root},
		} {
			if err := got.Continues(other); !errors.Is(err, ledger.ErrSuccession) {
				t.Errorf("%+v: %v", other, err)
			}
		}
		if (got.Predecessor.Lost != nil) != c.lost || c.lost && got.Predecessor.Lost.Size != 73 {
			t.Errorf("lost range: %+v", got.Predecessor.Lost)
		}
		var any map[string]any
		mode, _ := cbor.CoreDetEncOptions().EncMode()
		if err := cbor.Unmarshal(data, &any); err != nil {
			t.Fatal(err)
		}
		if det, err := mode.Marshal(any); err != nil || !bytes.Equal(det, data) {
			t.Errorf("not core deterministic: %v", err)
		}
	}
	if err := testGenesis(t).Continues(ledger.Checkpoint{}); !errors.Is(err, ledger.ErrSuccession) {
		t.Errorf("a first log continues something: %v", err)
	}
}

func mustPredecessor(t testing.TB, p *ledger.Predecessor) []byte {
	t.Helper()
	data, err := ledger.MarshalPredecessor(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPredecessorRefused(t *testing.T) {
	_, sign := oldLog(t)
	for name, change := range map[string]func(p *ledger.Predecessor){
		"another size":        func(p *ledger.Predecessor) { p.Size++ },
		"another root":        func(p *ledger.Predecessor) { p.Root[0]++ },
		"another log":         func(p *ledger.Predecessor) { p.Origin = "b.example/log/main" },
		"unsigned":            func(p *ledger.Predecessor) { p.Checkpoint = bytes.Replace(p.Checkpoint, []byte("— "), nil, 1) },
		"empty log":           func(p *ledger.Predecessor) { p.Size = 0 },
		"no key":              func(p *ledger.Predecessor) { p.LogKey = "" },
		"nothing lost":        func(p *ledger.Predecessor) { p.Lost.Size, p.Lost.Checkpoint = 70, sign(70, p.Lost.Root) },
		"lost range unsigned": func(p *ledger.Predecessor) { p.Lost.Size = 74 },
		"too long":            func(p *ledger.Predecessor) { p.Checkpoint = append(p.Checkpoint, make([]byte, 9000)...) },
	} {
		p := testPredecessor(t, true)
		change(p)
		if _, err := ledger.MarshalPredecessor(p); !errors.Is(err, ledger.ErrSuccession) {
			t.Errorf("%s: %v", name, err)
		}
	}
	data := mustPredecessor(t, testPredecessor(t, true))
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x10
		if p, err := ledger.ParsePredecessor(bad); err == nil && !bytes.Equal(mustPredecessor(t, p), bad) {
			t.Fatalf("octet %d: read and written differently", i)
		}
	}
	g := testGenesis(t)
	g.Predecessor = testPredecessor(t, false)
	g.Origin, g.LogKey = oldOrigin, g.Predecessor.LogKey
	if _, err := ledger.MarshalGenesis(g); !errors.Is(err, ledger.ErrGenesis) {
		t.Errorf("a log that continues itself: %v", err)
	}
}

func TestLogClosed(t *testing.T) {
	c := &ledger.LogClosed{Actors: []string{"admin", "admin-2"}, Reason: "half-year shard", Successor: testOrigin}
	data, err := ledger.MarshalLogClosed(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ledger.ParseLogClosed(data)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(c) {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, bad := range map[string]ledger.LogClosed{
		"one actor":    {Actors: []string{"admin"}, Reason: "r", Successor: testOrigin},
		"same actor":   {Actors: []string{"admin", "admin"}, Reason: "r", Successor: testOrigin},
		"no reason":    {Actors: []string{"a", "b"}, Successor: testOrigin},
		"no successor": {Actors: []string{"a", "b"}, Reason: "r"},
		"long":         {Actors: []string{"a", "b"}, Reason: strings.Repeat("r", 5000), Successor: testOrigin},
	} {
		if _, err := ledger.MarshalLogClosed(&bad); !errors.Is(err, ledger.ErrSuccession) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ledger.ParseLogClosed(append(data, 0)); !errors.Is(err, ledger.ErrSuccession) {
		t.Errorf("octets after the end: %v", err)
	}
}

func FuzzParsePredecessor(f *testing.F) {
	f.Add(mustPredecessor(f, testPredecessor(f, false)))
	f.Add(mustPredecessor(f, testPredecessor(f, true)))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ledger.ParsePredecessor(data)
		if err != nil {
			return
		}
		if !bytes.Equal(mustPredecessor(t, p), data) {
			t.Fatal("two encodings of one predecessor")
		}
	})
}

func FuzzParseLogClosed(f *testing.F) {
	data, err := ledger.MarshalLogClosed(&ledger.LogClosed{Actors: []string{"a", "b"}, Reason: "r", Successor: testOrigin})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ledger.ParseLogClosed(data)
		if err != nil {
			return
		}
		if again, err := ledger.MarshalLogClosed(c); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("two encodings of one document: %v", err)
		}
	})
}
