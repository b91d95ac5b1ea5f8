package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
)

var admins = [2]string{"admin-2", "admin-1"}

func order(at int64) Change {
	return Change{Issuer: "https://mas.example", Origin: "mas.example/log/main", At: at, By: admins}
}

// fresh makes a key in a file of its own.
func fresh(t *testing.T, dir string, role Role) (*Key, string) {
	t.Helper()
	path, err := GenerateOne(dir, role, nil)
	if err != nil {
		t.Fatal(err)
	}
	k, err := OpenNew(role, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k, path
}

func must(t *testing.T) func(*Ring, error) *Ring {
	return func(r *Ring, err error) *Ring {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// reload writes a ring and loads the keys with what was read back.
func reload(t *testing.T, dir string, r *Ring) *Set {
	t.Helper()
	path := filepath.Join(dir, "ring.json")
	if err := WriteRing(path, r); err != nil {
		t.Fatal(err)
	}
	read, err := ReadRing(path)
	if err != nil {
		t.Fatal(err)
	}
	refs := RefsIn(dir)
	refs.Ring = read
	set, err := Load(refs)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(set.Ring(), read) {
		t.Error("loading changed the ring")
	}
	return set
}

// TestRing takes one role through its life: overlap, retirement, compromise, loss.
func TestRing(t *testing.T) {
	for _, role := range []Role{Checkpoint, Evidence, Issuer, Receipts, Governance, Witness} {
		t.Run(string(role), func(t *testing.T) {
			dir := generate(t)
			set := load(t, dir)
			first := set.Key(role)
			second, ref := fresh(t, dir, role)
			r := must(t)(set.Rotate(t.Context(), order(100), role, second, ref))
			set = reload(t, dir, r)
			if r.Version != 2 {
				t.Fatalf("version %d", r.Version)
			}
			if got := string(set.Key(role).thumbprint); got != string(first.thumbprint) {
				t.Error("the new key signs before the overlap has ended")
			}
			if set.Next(role) == nil || string(set.Next(role).thumbprint) != string(second.thumbprint) {
				t.Fatal("the next key is not there")
			}
			if n := len(r.Public(role, 0)); n != 2 {
				t.Errorf("%d keys are published in the overlap", n)
			}
			s, err := ledger.ParseSuccession(r.Statements[0].Body)
			if err != nil || s.Role != string(role) || s.By != [2]string{"admin-1", "admin-2"} || len(r.Statements) != 2 {
				t.Fatalf("%+v, %v", s, err)
			}
			third, _ := fresh(t, dir, role)
			if _, err := set.Rotate(t.Context(), order(101), role, third, ""); err == nil {
				t.Error("a second overlap began in the first")
			}

			set = reload(t, dir, must(t)(set.Ring().Retire(order(200), role)))
			if string(set.Key(role).thumbprint) != string(second.thumbprint) || set.Next(role) != nil {
				t.Error("the new key does not sign after the overlap")
			}
			if e, _ := set.Ring().Find(first.thumbprint); e.Status != Retired || e.NotAfter != 200 {
				t.Errorf("%+v", e)
			}
			if len(set.Ring().Public(role, 200)) != 2 || len(set.Ring().Public(role, 201)) != 1 {
				t.Error("a retired key is served until the audit horizon, and no longer")
			}
			if _, err := set.Ring().Retire(order(201), role); err == nil {
				t.Error("retired without an overlap")
			}

			// The key that signs is compromised: it cannot be withdrawn without a new one, and vouches for nothing.
			kid := set.Key(role).thumbprint
			if _, err := set.Ring().Compromise(t.Context(), order(300), kid, 250, nil, ""); err == nil {
				t.Error("the role was left without a key")
			}
			if _, err := set.Ring().Compromise(t.Context(), order(300), kid, 301, third, ""); err == nil {
				t.Error("compromised in the future")
			}
			if _, err := set.Ring().Compromise(t.Context(), order(300), kid, 250, first, ""); err == nil {
				t.Error("a retired key came back")
			}
			path := filepath.Join(dir, fmt.Sprintf("%s-%x.pem", role, third.thumbprint[:4]))
			set = reload(t, dir, must(t)(set.Ring().Compromise(t.Context(), order(300), kid, 250, third, path)))
			if string(set.Key(role).thumbprint) != string(third.thumbprint) {
				t.Error("the compromised key still signs")
			}
			if e, _ := set.Ring().Find(kid); e.Status != Compromised || e.CompromisedAt != 250 || e.NotAfter != 300 {
				t.Errorf("%+v", e)
			}
			for _, public := range set.Ring().Public(role, 0) {
				if sameKey(public, second.public) {
					t.Error("a compromised key is published")
				}
			}
			if _, err := set.Ring().Compromise(t.Context(), order(301), kid, 260, nil, ""); err == nil {
				t.Error("the boundary moved forward")
			}
			r = must(t)(set.Ring().Compromise(t.Context(), order(301), kid, 240, nil, ""))

			// The key that signs is lost. Its file is gone, and only the ring is needed to go on.
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			fourth, ref := fresh(t, dir, role)
			set = reload(t, dir, must(t)(r.Lose(t.Context(), order(400), role, fourth, ref)))
			if e, _ := set.Ring().Find(third.thumbprint); e.Status != Retired || set.Ring().Version != 6 {
				t.Errorf("%+v, version %d", e, set.Ring().Version)
			}
			if n := len(set.Ring().All(role)); n != 4 {
				t.Errorf("%d keys are remembered", n)
			}
		})
	}
}

func sameKey(a, b any) bool { return reflect.DeepEqual(a, b) }

// TestRingHoldsReferencesToTheirKeys: a configuration that leads to another key than the ring has is refused, so that
// keys never change without a record.
func TestRingHoldsReferencesToTheirKeys(t *testing.T) {
	dir := generate(t)
	refs := RefsIn(dir)
	refs.Ring = load(t, dir).Ring()
	refs.Signing[Issuer] = RefsIn(generate(t)).Signing[Issuer]
	if _, err := Load(refs); err == nil || !strings.Contains(err.Error(), "mas keys rotate") {
		t.Errorf("got %v", err)
	}
}

// TestRingAfterFaults breaks each durable step of a rotation in each way. Whatever happens, the directory loads, with
// the keys from before or after, and the order can be given again.
func TestRingAfterFaults(t *testing.T) {
	broken := errors.New("broken")
	for _, step := range []string{stepFile.Name(), stepRing.Name()} {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/applied=%t", step, applied), func(t *testing.T) {
				dir := generate(t)
				path := filepath.Join(dir, "ring.json")
				set := reload(t, dir, load(t, dir).Ring())
				rotate := func(set *Set) error {
					ref, err := GenerateOne(dir, Evidence, nil)
					if err != nil {
						return err
					}
					k, err := OpenNew(Evidence, ref, nil)
					if err != nil {
						return err
					}
					r, err := set.Rotate(t.Context(), order(100), Evidence, k, ref)
					if err != nil {
						return err
					}
					return WriteRing(path, r)
				}
				restore := durable.Intercept(func(name string, run func() error) error {
					if name != step {
						return run()
					}
					if applied {
						return errors.Join(run(), broken)
					}
					return broken
				})
				err := rotate(set)
				restore()
				if !errors.Is(err, broken) {
					t.Fatalf("the fault was swallowed: %v", err)
				}
				// What a crash leaves of a file that was being written is never in the way.
				if err := os.WriteFile(path+".new", []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
				refs := RefsIn(dir)
				if refs.Ring, err = ReadRing(path); err != nil {
					t.Fatal(err)
				}
				set, err = Load(refs)
				if err != nil {
					t.Fatal(err)
				}
				if happened := step == stepRing.Name() && applied; (set.Next(Evidence) != nil) != happened {
					t.Errorf("next key %v", set.Next(Evidence))
				} else if !happened {
					if err := rotate(set); err != nil {
						t.Errorf("the order cannot be given again: %v", err)
					}
				}
			})
		}
	}
}

func TestReadRingRefuses(t *testing.T) {
	dir := generate(t)
	whole, err := load(t, dir).Ring().marshal()
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := bytes.Cut(whole, []byte("\n"))
	path := filepath.Join(dir, "ring.json")
	if r, err := ReadRing(path); r != nil || err != nil {
		t.Errorf("no file: %v, %v", r, err)
	}
	for name, damaged := range map[string]string{
		"empty":         "",
		"cut":           string(text[:len(text)/2]),
		"unknown":       strings.Replace(string(text), `"format":1`, `"format":1,"more":1`, 1),
		"format":        strings.Replace(string(text), `"format":1`, `"format":2`, 1),
		"version":       strings.Replace(string(text), `"version":1`, `"version":0`, 1),
		"two active":    strings.Replace(string(text), `"role":"issuer"`, `"role":"evidence"`, 1),
		"unknown role":  strings.Replace(string(text), `"role":"issuer"`, `"role":"king"`, 1),
		"retired, when": strings.Replace(string(text), `"status":"active"`, `"status":"retired"`, 1),
		"another kid":   strings.Replace(string(text), `"kid":"`, `"kid":"A`, 1),
		"one orderer":   strings.Replace(string(text), `"ordered_by":[]`, `"ordered_by":["admin"]`, 1),
		"statement": strings.Replace(string(text), `"statements":[]`,
			`"statements":[{"body":"AA","content_type":"application/mas-key-status+cbor"}]`, 1),
	} {
		if damaged == string(text) {
			t.Fatalf("%s: nothing was damaged", name)
		}
		if err := os.WriteFile(path, sealed([]byte(damaged)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRing(path); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for i := range whole { // no octet can be damaged unseen
		flipped := bytes.Clone(whole)
		flipped[i] ^= 4
		if _, err := parseRing(flipped); err == nil {
			t.Fatalf("octet %d was changed unseen", i)
		}
	}
}

func FuzzParseRing(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "keys")
	if err := Generate(dir, nil); err != nil {
		f.Fatal(err)
	}
	set, err := Load(RefsIn(dir))
	if err != nil {
		f.Fatal(err)
	}
	text, err := set.Ring().marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRing(data)
		if err != nil {
			return
		}
		if _, err := r.marshal(); err != nil {
			t.Fatalf("accepted but not writable: %v", err)
		}
	})
}
