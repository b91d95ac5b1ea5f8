package ledger_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mission-authority/mas/ledger"
)

const mapIssuer = "https://mas.example"

// pageStore keeps the pages of a map as a log keeps rows.
type pageStore map[string][]byte

func (s pageStore) load(prefix string) ([]byte, error) {
	if data, ok := s[prefix]; ok {
		return data, nil
	}
	return nil, ledger.ErrNotFound
}

func (s pageStore) save(t testing.TB, m *ledger.FeedMap) int {
	t.Helper()
	changed, err := m.Changed()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range changed {
		s[p.Prefix] = p.Data
	}
	return len(changed)
}

// feeds are entries by subject.
type feeds struct {
	subjects []string
	leaves   map[string][]ledger.Hash
	last     map[string]uint64
}

// grow adds n entries to a map, about half of them new subjects, and remembers them.
func (f *feeds) grow(t testing.TB, m *ledger.FeedMap, r *rand.Rand, first, n uint64) {
	t.Helper()
	if f.leaves == nil {
		f.leaves, f.last = map[string][]ledger.Hash{}, map[string]uint64{}
	}
	for i := first; i < first+n; i++ {
		subject := ""
		if len(f.subjects) == 0 || r.IntN(2) == 0 {
			kind := []string{"missions", "missions", "missions", "approvals", "elsewhere"}[r.IntN(5)]
			subject = fmt.Sprintf("%s/%s/s%d", mapIssuer, kind, i)
			f.subjects = append(f.subjects, subject)
		} else {
			subject = f.subjects[r.IntN(len(f.subjects))]
		}
		leaf := testLeaf(i)
		f.leaves[subject], f.last[subject] = append(f.leaves[subject], leaf), i
		if err := m.Add(subject, i, leaf); err != nil {
			t.Fatal(err)
		}
	}
}

func mapRoot(t testing.TB, m *ledger.FeedMap) ledger.Hash {
	t.Helper()
	root, err := m.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestFeedMapPages: a map that is stored and opened again after every few entries has the root and the pages of one
// that saw all entries at once, in another order of subjects, and says about each subject what was logged.
func TestFeedMapPages(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	store, all := pageStore{}, feeds{}
	var m *ledger.FeedMap
	for i := uint64(0); i < 1200; i += 40 {
		m = ledger.NewFeedMap(mapIssuer, store.load)
		all.grow(t, m, r, i, 40)
		store.save(t, m)
	}
	once, fresh := ledger.NewFeedMap(mapIssuer, nil), pageStore{}
	subjects := slices.Clone(all.subjects)
	r.Shuffle(len(subjects), func(i, j int) { subjects[i], subjects[j] = subjects[j], subjects[i] })
	missions := uint64(0)
	for _, s := range subjects {
		n := uint64(len(all.leaves[s]))
		for i, leaf := range all.leaves[s] {
			if err := once.Add(s, all.last[s]-n+1+uint64(i), leaf); err != nil {
				t.Fatal(err)
			}
		}
		if kind, _, err := ledger.ParseSubject(mapIssuer, s); err == nil && kind == ledger.SubjectMissions {
			missions++
		}
	}
	fresh.save(t, once)
	if a, b := mapRoot(t, m), mapRoot(t, once); a != b {
		t.Errorf("roots %s and %s", a, b)
	}
	if len(fresh) != len(store) {
		t.Errorf("%d pages and %d", len(fresh), len(store))
	}
	for prefix, data := range store {
		if !bytes.Equal(fresh[prefix], data) {
			t.Errorf("page %q differs", prefix)
		}
	}
	reopened := ledger.NewFeedMap(mapIssuer, store.load)
	if n, k, err := reopened.Population(); err != nil || n != uint64(len(subjects)) || k != missions {
		t.Errorf("population %d, %d missions, %v; want %d, %d", n, k, err, len(subjects), missions)
	}
	for _, s := range subjects {
		got, ok, err := reopened.Get(s)
		want := ledger.FeedSummary{Subject: s, Count: uint64(len(all.leaves[s])), Last: all.last[s],
			Root: ledger.FeedRoot(all.leaves[s])}
		if err != nil || !ok || got != want {
			t.Fatalf("%s: %+v, %t, %v; want %+v", s, got, ok, err, want)
		}
	}
	if _, ok, err := reopened.Get(mapIssuer + "/missions/nobody"); ok || err != nil {
		t.Errorf("an unknown subject: %t, %v", ok, err)
	}
	if n, err := reopened.Changed(); err != nil || len(n) != 0 {
		t.Errorf("reading changed %d pages, %v", len(n), err)
	}
}

// TestFeedMapProofs shows presence and absence of subjects and the whole population, and that no byte of a proof can be
// changed.
//
// Audit rows: 135.
func TestFeedMapProofs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, entries := range []uint64{1, 2, 3, 20, 40, 700} {
		m, all := ledger.NewFeedMap(mapIssuer, nil), feeds{}
		all.grow(t, m, r, 0, entries)
		root := mapRoot(t, m)
		for i, s := range all.subjects {
			absent := fmt.Sprintf("%s/missions/absent%d", mapIssuer, i)
			raw, err := m.Prove(s, absent)
			if err != nil {
				t.Fatal(err)
			}
			p, err := ledger.OpenMapProof(raw, mapIssuer, root)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok, err := p.Lookup(s); err != nil || !ok || got.Count != uint64(len(all.leaves[s])) ||
				got.Last != all.last[s] || got.Root != ledger.FeedRoot(all.leaves[s]) {
				t.Fatalf("%s: %+v, %t, %v", s, got, ok, err)
			}
			if _, ok, err := p.Lookup(absent); ok || err != nil {
				t.Fatalf("%s: %t, %v", absent, ok, err)
			}
		}
		population(t, m, root, all)
	}
}

// population pages through the missions of a map, and through all of it, and holds what the proofs show against what
// was logged.
func population(t *testing.T, m *ledger.FeedMap, root ledger.Hash, all feeds) {
	t.Helper()
	everything := ledger.Hash(bytes.Repeat([]byte{0xff}, ledger.HashSize))
	first, last := ledger.FeedKindRange(ledger.SubjectMissions)
	for name, want := range map[string]struct {
		first, last ledger.Hash
		missions    bool
	}{"missions": {first, last, true}, "all": {ledger.Hash{}, everything, false}} {
		var expected, got []string
		for _, s := range all.subjects {
			if kind, _, err := ledger.ParseSubject(mapIssuer, s); !want.missions || err == nil && kind == ledger.SubjectMissions {
				expected = append(expected, s)
			}
		}
		for at := want.first; ; {
			raw, shown, err := m.ProveRange(at, want.last, 7)
			if err != nil {
				t.Fatal(err)
			}
			p, err := ledger.OpenMapProof(raw, mapIssuer, root)
			if err != nil {
				t.Fatal(err)
			}
			page, err := p.Range(at, shown)
			if err != nil || len(page) > 7 {
				t.Fatalf("page of %d, %v", len(page), err)
			}
			for _, s := range page {
				got = append(got, s.Subject)
			}
			if shown == want.last {
				break
			}
			if _, err := p.Range(at, want.last); !errors.Is(err, ledger.ErrNotShown) {
				t.Fatalf("a page shows more than its range: %v", err)
			}
			if at, err = shown.Next(); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(expected)
		slices.Sort(got)
		if !slices.Equal(expected, got) {
			t.Fatalf("%s: %d subjects of %d", name, len(got), len(expected))
		}
	}
}

// TestMapProofRefuses: a proof for one subject says nothing about others, and no single changed octet goes unseen.
//
// Audit rows: 135.
func TestMapProofRefuses(t *testing.T) {
	m, all := ledger.NewFeedMap(mapIssuer, nil), feeds{}
	all.grow(t, m, rand.New(rand.NewPCG(5, 6)), 0, 200)
	root := mapRoot(t, m)
	here, absent := all.subjects[3], mapIssuer+"/missions/absent"
	for _, s := range all.subjects {
		if len(all.leaves[s]) > 2 {
			here = s // a feed that stays if one entry is left out
		}
	}
	raw, err := m.Prove(here, absent)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ledger.OpenMapProof(raw, mapIssuer, root)
	if err != nil {
		t.Fatal(err)
	}
	hidden := 0
	for _, s := range all.subjects {
		_, ok, err := p.Lookup(s)
		if s != here && ok {
			t.Errorf("%s is shown", s)
		}
		if s != here && err == nil {
			t.Fatalf("the proof says that %s, which is there, is absent", s)
		}
		if errors.Is(err, ledger.ErrNotShown) {
			hidden++
		}
	}
	if hidden != len(all.subjects)-1 {
		t.Errorf("%d of %d subjects are hidden", hidden, len(all.subjects))
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << (i % 8)
		if _, err := ledger.OpenMapProof(bad, mapIssuer, root); !errors.Is(err, ledger.ErrProof) {
			t.Fatalf("octet %d changed: %v", i, err)
		}
	}
	for i := range raw {
		if _, err := ledger.OpenMapProof(raw[:i], mapIssuer, root); err == nil {
			t.Fatalf("%d octets of %d were accepted", i, len(raw))
		}
	}
	// One entry left out of one feed, and one mission left out, are another root.
	for name, drop := range map[string]func(s string, i int) bool{
		"an entry":  func(s string, i int) bool { return s == here && i == 0 },
		"a mission": func(s string, _ int) bool { return s == all.subjects[9] },
	} {
		other := ledger.NewFeedMap(mapIssuer, nil)
		for _, s := range all.subjects {
			for i, leaf := range all.leaves[s] {
				if !drop(s, i) {
					if err := other.Add(s, all.last[s]-uint64(len(all.leaves[s])-1-i), leaf); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if mapRoot(t, other) == root {
			t.Errorf("%s can be left out", name)
		}
	}
	if err := m.Add(here, all.last[here], testLeaf(1)); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("an entry that does not continue its feed: %v", err)
	}
}

// TestFeedMapGolden fixes the bytes of map, proof and epoch.
func TestFeedMapGolden(t *testing.T) {
	m := ledger.NewFeedMap(mapIssuer, nil)
	for i, s := range []string{"/log", "/missions/msn_a", "/missions/msn_b", "/missions/msn_a", "/approvals/evt_a"} {
		if err := m.Add(mapIssuer+s, uint64(i), testLeaf(uint64(i))); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := m.Prove(mapIssuer+"/missions/msn_a", mapIssuer+"/peers/none")
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := ledger.MarshalFeedEpoch(goldenEpoch(mapRoot(t, m)))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2]string{
		"root":  {mapRoot(t, m).String(), goldenMapRoot},
		"proof": {hex.EncodeToString(raw), goldenMapProof},
		"epoch": {hex.EncodeToString(epoch), goldenMapEpoch},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %s", name, c[0])
		}
	}
}

func goldenEpoch(root ledger.Hash) *ledger.FeedEpoch {
	return &ledger.FeedEpoch{Origin: "mas.example/log/1", Number: 1, CoveredSize: 5, CoveredRoot: testLeaf(9),
		MapRoot: root, Subjects: 4, Missions: 2}
}

// TestFeedEpochStrict: one encoding, and numbers that fit together.
func TestFeedEpochStrict(t *testing.T) {
	e := goldenEpoch(testLeaf(3))
	raw, err := ledger.MarshalFeedEpoch(e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ledger.ParseFeedEpoch(raw)
	if err != nil || *got != *e {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range raw {
		bad := append(bytes.Clone(raw[:i]), raw[i+1:]...)
		if _, err := ledger.ParseFeedEpoch(bad); !errors.Is(err, ledger.ErrFeedEpoch) {
			t.Fatalf("octet %d left out: %v", i, err)
		}
	}
	for name, change := range map[string]func(*ledger.FeedEpoch){
		"number 0":            func(e *ledger.FeedEpoch) { e.Number = 0 },
		"first with previous": func(e *ledger.FeedEpoch) { e.Previous = 1 },
		"second without":      func(e *ledger.FeedEpoch) { e.Number = 2 },
		"no subjects":         func(e *ledger.FeedEpoch) { e.Subjects, e.Missions = 0, 0 },
		"more than entries":   func(e *ledger.FeedEpoch) { e.Subjects = 6 },
		"more missions":       func(e *ledger.FeedEpoch) { e.Missions = 5 },
		"no origin":           func(e *ledger.FeedEpoch) { e.Origin = "" },
	} {
		bad := *e
		change(&bad)
		if _, err := ledger.MarshalFeedEpoch(&bad); !errors.Is(err, ledger.ErrFeedEpoch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFeedInclusion: each entry of a feed is proven against the root of the feed.
func TestFeedInclusion(t *testing.T) {
	for n := uint64(1); n < 70; n++ {
		var leaves []ledger.Hash
		for i := range n {
			leaves = append(leaves, testLeaf(i))
		}
		root := ledger.FeedRoot(leaves)
		for seq := range n {
			path := ledger.FeedInclusionPath(leaves, seq)
			if err := ledger.VerifyInclusion(leaves[seq], seq, n, path, root); err != nil {
				t.Fatalf("%d of %d: %v", seq, n, err)
			}
			if n > 1 && ledger.VerifyInclusion(leaves[seq], (seq+1)%n, n, path, root) == nil {
				t.Fatalf("%d of %d is also another one", seq, n)
			}
		}
	}
}

func FuzzMapProof(f *testing.F) {
	m, all := ledger.NewFeedMap(mapIssuer, nil), feeds{}
	all.grow(f, m, rand.New(rand.NewPCG(7, 8)), 0, 60)
	root := mapRoot(f, m)
	for _, s := range append(all.subjects[:5:5], mapIssuer+"/missions/absent") {
		raw, err := m.Prove(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add(unhex(f, goldenMapProof))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ledger.OpenMapProof(raw, mapIssuer, root)
		if err != nil {
			return
		}
		for _, s := range all.subjects {
			if got, ok, err := p.Lookup(s); err == nil && (!ok || got.Root != ledger.FeedRoot(all.leaves[s])) {
				t.Fatalf("a proof says something wrong about %s", s)
			}
		}
	})
}

func FuzzFeedEpoch(f *testing.F) {
	f.Add(unhex(f, goldenMapEpoch))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ledger.ParseFeedEpoch(raw)
		if err != nil {
			return
		}
		again, err := ledger.MarshalFeedEpoch(e)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("two encodings: %v", err)
		}
	})
}

const (
	goldenMapRoot  = "b1f4b1332b7e32e6e2ee3ff5fcc2b09c363201fa25de5354952e59a7eeb630ce"
	goldenMapProof = "" +
		"8d00000000f600f600582066c10ae1c7c3b9af8a5a0db1742ec079e0722d4080ac5aa93b6c6d5123fc155784782268747470" +
		"733a2f2f6d61732e6578616d706c652f6d697373696f6e732f6d736e5f6102035820fc73576249ec73c0dd1163f6f3b7cdc0" +
		"d6618b5e781de8d6d32f86c99e8856475820d568bd5a5caea12b54205385012ec586bca5190a9dff0aabd91d72ea61a112de" +
		"f65820fab76dbe45dca07ac7639aeb5baea895306698e4483b2486dcda6a179f8a1be6"
	goldenMapEpoch = "" +
		"a9636d6170667375622d76316565706f636801666f726967696e716d61732e6578616d706c652f6c6f672f31686d61705f72" +
		"6f6f745820b1f4b1332b7e32e6e2ee3ff5fcc2b09c363201fa25de5354952e59a7eeb630ce686d697373696f6e7302687072" +
		"6576696f757300687375626a65637473046c636f76657265645f726f6f7458209d96fcd220d325331145aa2b950079e1ccc9" +
		"69c6c8b1c75208efe96c9f05666d6c636f76657265645f73697a6505"
)
