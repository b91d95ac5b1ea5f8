package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/mission-authority/mas/cmd/internal/keys"
)

// The workloads of key files: making a directory of them, and rotating a key by a ring.

func runKeys(t *testing.T, dir string, r *report) {
	if err := keys.Generate(stepPath(dir, "keys"), nil); err != nil {
		r.saw("refused", err)
		return
	}
	r.say(fact{Kind: "keys"})
	if err := rotateEvidence(t, dir); err != nil {
		r.saw("refused", err)
		return
	}
	r.say(fact{Kind: "ring"})
}

// rotateEvidence begins the rotation of the evidence key.
func rotateEvidence(t *testing.T, dir string) error {
	where := stepPath(dir, "keys")
	ref, err := keys.GenerateOne(where, keys.Evidence, nil)
	if err != nil {
		return err
	}
	fresh, err := keys.OpenNew(keys.Evidence, ref, nil)
	if err != nil {
		return err
	}
	set, err := keys.Load(keys.RefsIn(where))
	if err != nil {
		return err
	}
	order := keys.Change{Issuer: "https://log.a.example", Origin: stepOrigin, At: 100, By: [2]string{"admin-1", "admin-2"}}
	ring, err := set.Rotate(context.Background(), order, keys.Evidence, fresh, ref)
	if err != nil {
		return err
	}
	return keys.WriteRing(stepPath(dir, "ring.json"), ring)
}

// checkKeys: the keys are there whole, or not at all and can be made; the ring is the new one, or there is none and the
// rotation can begin again.
func checkKeys(t *testing.T, dir string, said []fact) {
	acknowledged := func(kind string) bool {
		return slices.ContainsFunc(said, func(f fact) bool { return f.Kind == kind })
	}
	where := stepPath(dir, "keys")
	if _, err := os.Stat(where); errors.Is(err, fs.ErrNotExist) {
		if acknowledged("keys") {
			t.Fatal("acknowledged keys are gone")
		}
		if err := keys.Generate(where, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(stepPath(dir, "ring.json")); errors.Is(err, fs.ErrNotExist) {
		if acknowledged("ring") {
			t.Fatal("an acknowledged rotation is gone")
		}
		if err := rotateEvidence(t, dir); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := keys.ReadRing(stepPath(dir, "ring.json"))
	if err != nil || ring.Version != 2 {
		t.Fatalf("the ring: %+v, %v", ring, err)
	}
	refs := keys.RefsIn(where)
	refs.Ring = ring
	if set, err := keys.Load(refs); err != nil || set.Next(keys.Evidence) == nil {
		t.Fatalf("the keys of the ring: %v", err)
	}
}
