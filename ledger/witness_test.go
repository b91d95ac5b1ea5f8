package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	formatsnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

func witnessKeys(t testing.TB, name string, key ed25519.PrivateKey, at time.Time) (note.Signer, note.Verifier) {
	t.Helper()
	s, err := ledger.NewCosigner(name, key, at)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := ledger.CosignatureVKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	v, err := ledger.NewCosignatureVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func TestCosignatures(t *testing.T) {
	at := time.Unix(1_800_000_000, 999).UTC()
	signer, verifier := noteKeys(t, testOrigin, seedKey(1))
	w1, v1 := witnessKeys(t, "witness.example/w1", seedKey(2), at)
	w2, v2 := witnessKeys(t, "witness.example/w2", seedKey(3), at.Add(time.Minute))
	_, v3 := witnessKeys(t, "witness.example/w3", seedKey(4), at)
	log := []note.Verifier{verifier}
	c := ledger.Checkpoint{Origin: testOrigin, Size: 4, Root: testLeaf(0)}
	text, err := ledger.SignCheckpoint(c, signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := ledger.OpenCosigned(text, testOrigin, log, []note.Verifier{v1}); err != nil || len(found) != 0 {
		t.Errorf("without cosignature: %v, %v", found, err)
	}
	cosigned, err := ledger.Cosign(text, w1)
	if err != nil {
		t.Fatal(err)
	}
	if cosigned, err = ledger.Cosign(cosigned, w2); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(cosigned, text) {
		t.Error("the log's line moved")
	}
	got, found, err := ledger.OpenCosigned(cosigned, testOrigin, log, []note.Verifier{v2, v1, v3})
	want := []ledger.Cosignature{
		{Name: "witness.example/w1", KeyHash: v1.KeyHash(), At: at.Truncate(time.Second)},
		{Name: "witness.example/w2", KeyHash: v2.KeyHash(), At: at.Add(time.Minute).Truncate(time.Second)},
	}
	if err != nil || got != c || fmt.Sprint(found) != fmt.Sprint(want) {
		t.Errorf("%+v, %v, %v", got, found, err)
	}
	// The formats library agrees on the key and on the signature.
	vkey, err := ledger.CosignatureVKey("witness.example/w1", seedKey(2).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := formatsnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(cosigned, note.VerifierList(theirs))
	if err != nil || len(n.Sigs) != 1 || theirs.KeyHash() != v1.KeyHash() {
		t.Errorf("formats: %v", err)
	}

	// A witness never stands in for the log, nor a log key for a witness.
	alone := signText(t, c.Text(), w1)
	if _, _, err := ledger.OpenCosigned(alone, testOrigin, log, []note.Verifier{v1}); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("witness alone: %v", err)
	}
	if _, _, err := ledger.OpenCosigned(cosigned, testOrigin, log, log); err == nil {
		t.Error("log key accepted as a witness")
	}
	if _, _, err := ledger.OpenCosigned(flipSignature(t, cosigned), testOrigin, log, []note.Verifier{v2}); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("bad cosignature: %v", err)
	}
	if _, _, err := ledger.OpenCosigned(flipSignature(t, cosigned), testOrigin, log, []note.Verifier{v1}); err != nil {
		t.Errorf("bad cosignature of an unknown witness: %v", err)
	}
	again, err := ledger.Cosign(cosigned, w1)
	if err != nil || bytes.Count(again, []byte("w1")) != 1 {
		t.Errorf("cosigned twice: %s, %v", again, err)
	}
	if v1.Verify([]byte(c.Text()), make([]byte, 71)) || v1.Verify([]byte(c.Text()), nil) {
		t.Error("short cosignature verifies")
	}
	if _, err := w1.Sign([]byte("not a checkpoint")); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("cosigned something else: %v", err)
	}
	if _, err := ledger.Cosign([]byte("not a note"), w1); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("cosigned something else: %v", err)
	}
	if _, err := ledger.NewCosigner("w", seedKey(2), time.Time{}); err == nil {
		t.Error("cosigner before 1970")
	}
	if _, err := ledger.NewCosigner("w", p256Key(t, 1), at); err == nil {
		t.Error("P-256 cosigner")
	}
}

func TestWitnessKeys(t *testing.T) {
	g, _ := readVectors(t)
	vkey, err := ledger.CosignatureVKey("witness.example/w1", seedKey(2).Public().(ed25519.PublicKey))
	if err != nil || vkey != g.Witness {
		t.Errorf("%s, %v, want %s", vkey, err, g.Witness)
	}
	logKey, err := note.NewEd25519VerifierKey("witness.example/w1", seedKey(2).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"nothing": "", "a log key": logKey, "another name": strings.Replace(vkey, "w1", "w2", 1),
		"another hash": strings.Replace(vkey, "df1c0a35", "df1c0a36", 1), "upper case": strings.Replace(vkey, "df1c0a35", "DF1C0A35", 1),
		"no key": vkey[:strings.LastIndexByte(vkey, '+')+1], "trailing newline": vkey + "\n", "cut": vkey[:len(vkey)-4],
	} {
		if _, err := ledger.NewCosignatureVerifier(bad); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func TestAddCheckpointRequests(t *testing.T) {
	signer, _ := noteKeys(t, testOrigin, seedKey(1))
	c := ledger.Checkpoint{Origin: testOrigin, Size: 4, Root: testLeaf(0)}
	text, err := ledger.SignCheckpoint(c, signer)
	if err != nil {
		t.Fatal(err)
	}
	path := []ledger.Hash{testLeaf(1), testLeaf(2)}
	for _, want := range []ledger.AddCheckpoint{
		{Checkpoint: text}, {Old: 4, Checkpoint: text}, {Old: 3, Path: path, Checkpoint: text},
		{Old: 1, Path: make([]ledger.Hash, 63), Checkpoint: text},
	} {
		body, err := want.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ledger.ParseAddCheckpoint(body)
		if err != nil || got.Old != want.Old || len(got.Path) != len(want.Path) || !bytes.Equal(got.Checkpoint, text) || got.Claimed != c {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for name, bad := range map[string]ledger.AddCheckpoint{
		"no checkpoint":     {},
		"old beyond size":   {Old: 5, Checkpoint: text},
		"path from 0":       {Path: path, Checkpoint: text},
		"path to itself":    {Old: 4, Path: path, Checkpoint: text},
		"path of 64 hashes": {Old: 3, Path: make([]ledger.Hash, 64), Checkpoint: text},
		"odd checkpoint":    {Checkpoint: signText(t, "text\n", signer)},
	} {
		if _, err := bad.Marshal(); !errors.Is(err, ledger.ErrAddCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	hash := base64.StdEncoding.EncodeToString(path[0][:])
	// What only a witness can judge is well formed: it answers 422, not 400.
	odd := ledger.Checkpoint{Origin: testOrigin, Root: testLeaf(0)}
	for name, body := range map[string]string{
		"path from 0":             "old 0\n" + hash + "\n\n" + string(text),
		"path to itself":          "old 4\n" + hash + "\n\n" + string(text),
		"root of the empty tree?": "old 0\n\n" + string(signText(t, odd.Text(), signer)),
	} {
		if _, err := ledger.ParseAddCheckpoint([]byte(body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, body := range map[string]string{
		"nothing":             "",
		"no old line":         "\n" + string(text),
		"old with zero":       "old 03\n" + hash + "\n\n" + string(text),
		"old negative":        "old -3\n" + hash + "\n\n" + string(text),
		"two spaces":          "old  3\n" + hash + "\n\n" + string(text),
		"capital letter":      "Old 3\n" + hash + "\n\n" + string(text),
		"old 2^64":            "old 18446744073709551616\n\n" + string(text),
		"carriage return":     "old 3\r\n" + hash + "\n\n" + string(text),
		"short hash":          "old 3\n" + hash[4:] + "\n\n" + string(text),
		"space after hash":    "old 3\n" + hash + " \n\n" + string(text),
		"no blank line":       "old 3\n" + hash + "\n" + string(text),
		"64 hashes":           "old 3\n" + strings.Repeat(hash+"\n", 64) + "\n" + string(text),
		"old beyond size":     "old 5\n\n" + string(text),
		"no checkpoint":       "old 3\n" + hash + "\n\n",
		"unsigned checkpoint": "old 3\n" + hash + "\n\n" + c.Text(),
		"blank line more":     "old 3\n" + hash + "\n\n\n" + string(text),
		"oversize":            "old 3\n" + strings.Repeat("x", ledger.MaxAddCheckpointSize),
	} {
		if _, err := ledger.ParseAddCheckpoint([]byte(body)); !errors.Is(err, ledger.ErrAddCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLogProofs(t *testing.T) {
	signer, verifier := noteKeys(t, testOrigin, seedKey(1))
	for _, size := range []uint64{1, 2, 3, 70, 256, 300} {
		tree := newTestTree(size)
		text, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: testOrigin, Size: size, Root: tree.edge.Root()}, signer)
		if err != nil {
			t.Fatal(err)
		}
		for _, extra := range [][]byte{nil, []byte("x"), make([]byte, 16<<10)} {
			index := size / 2
			path, err := ledger.InclusionPath(index, size, tree.tile)
			if err != nil {
				t.Fatal(err)
			}
			data, err := ledger.TLogProof{Extra: extra, Index: index, Path: path, Checkpoint: text}.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			p, err := ledger.ParseTLogProof(data)
			if err != nil {
				t.Fatal(err)
			}
			if p.Index != index || !bytes.Equal(p.Extra, extra) || (p.Extra == nil) != (extra == nil) || len(p.Path) != len(path) {
				t.Errorf("parsed %+v", p)
			}
			if c, err := p.Verify(tree.leaves[index], testOrigin, verifier); err != nil || c.Size != size {
				t.Errorf("size %d: %+v, %v", size, c, err)
			}
			if _, err := p.Verify(testLeaf(size), testOrigin, verifier); !errors.Is(err, ledger.ErrProof) {
				t.Errorf("another leaf: %v", err)
			}
			if _, err := p.Verify(tree.leaves[index], "other.example", verifier); err == nil {
				t.Error("another origin accepted")
			}
			if _, err := p.Verify(tree.leaves[index], testOrigin); !errors.Is(err, ledger.ErrSignature) {
				t.Errorf("no key: %v", err)
			}
		}
	}
}

func TestOtherTLogProofsAreRefused(t *testing.T) {
	g, _ := readVectors(t)
	good := g.Proof
	if _, err := ledger.ParseTLogProof([]byte(good)); err != nil {
		t.Fatal(err)
	}
	head, checkpoint, _ := strings.Cut(good, "\n\n")
	lines := strings.Split(head, "\n") // header, index, two hashes
	join := func(head ...string) string { return strings.Join(head, "\n") + "\n\n" + checkpoint }
	for name, text := range map[string]string{
		"nothing":                "",
		"another version":        strings.Replace(good, "@v1", "@v2", 1),
		"carriage return":        strings.Replace(good, "index 1\n", "index 1\r\n", 1),
		"index with zero":        strings.Replace(good, "index 1", "index 01", 1),
		"index out of the tree":  strings.Replace(good, "index 1", "index 4", 1),
		"index without number":   strings.Replace(good, "index 1", "index ", 1),
		"no index":               join(lines[0], lines[2], lines[3]),
		"index twice":            join(lines[0], lines[1], lines[1], lines[2], lines[3]),
		"extra after index":      join(lines[0], lines[1], "extra eA==", lines[2], lines[3]),
		"extra twice":            join(lines[0], "extra eA==", "extra eA==", lines[1], lines[2], lines[3]),
		"extra empty":            join(lines[0], "extra ", lines[1], lines[2], lines[3]),
		"extra without padding":  join(lines[0], "extra eA", lines[1], lines[2], lines[3]),
		"extra with a return":    join(lines[0], "extra eA\r==", lines[1], lines[2], lines[3]),
		"extra with odd bits":    join(lines[0], "extra eB==", lines[1], lines[2], lines[3]),
		"extra above the limit":  join(lines[0], "extra "+base64.StdEncoding.EncodeToString(make([]byte, 16<<10+1)), lines[1], lines[2], lines[3]),
		"a hash less":            join(lines[0], lines[1], lines[2]),
		"a hash more":            join(lines[0], lines[1], lines[2], lines[3], lines[3]),
		"hash of 31":             join(lines[0], lines[1], lines[2], base64.StdEncoding.EncodeToString(make([]byte, 31))),
		"65 hashes":              join(append([]string{lines[0], lines[1]}, strings.Split(strings.Repeat(lines[2]+" ", 65), " ")...)...),
		"no checkpoint":          head + "\n\n",
		"checkpoint cut":         good[:len(good)-1],
		"checkpoint text alone":  head + "\n\n" + strings.SplitN(checkpoint, "\n\n", 2)[0] + "\n",
		"trailing newline":       good + "\n",
		"larger than the limit":  good + strings.Repeat("x", ledger.MaxTLogProofSize),
		"leading zero in a note": strings.Replace(good, "\n4\n", "\n04\n", 1),
	} {
		if _, err := ledger.ParseTLogProof([]byte(text)); !errors.Is(err, ledger.ErrTLogProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseTLogProof(f *testing.F) {
	g, _ := readVectors(f)
	f.Add([]byte(g.Proof))
	f.Add([]byte(strings.Replace(g.Proof, "index", "extra eA==\nindex", 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ledger.ParseTLogProof(text)
		if err != nil {
			return
		}
		if again, err := p.Marshal(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("accepted %q, canonical is %q, %v", text, again, err)
		}
	})
}

func FuzzParseAddCheckpoint(f *testing.F) {
	g, _ := readVectors(f)
	f.Add([]byte(g.AddCheckpoint))
	f.Add([]byte("old 0\n\n" + g.Checkpoint))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := ledger.ParseAddCheckpoint(body)
		if err != nil {
			return
		}
		if again, err := a.Marshal(); err != nil || !bytes.Equal(again, body) {
			t.Errorf("accepted %q, canonical is %q, %v", body, again, err)
		}
	})
}
