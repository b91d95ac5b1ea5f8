package jws_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

type vectorCase struct {
	Name     string      `json:"name"`
	Kind     string      `json:"kind"`
	Input    mission.Raw `json:"input"`
	Expected mission.Raw `json:"expected"`
}

func vectors(t testing.TB) []vectorCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "verifier", "testdata", "vectors", "federation.json"))
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Cases []vectorCase `json:"cases"`
	}
	if err := mission.DecodeOpen(data, &f); err != nil {
		t.Fatal(err)
	}
	return f.Cases
}

func TestVectors(t *testing.T) {
	ran := 0
	for _, c := range vectors(t) {
		got, known, err := jws.EvaluateVector(c.Kind, c.Input)
		if !known {
			continue
		}
		ran++
		t.Run(c.Name, func(t *testing.T) {
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(c.Expected) {
				t.Errorf("got %s, want %s", got.Bytes(), c.Expected.Bytes())
			}
		})
	}
	if ran != 11 {
		t.Errorf("ran %d cases, want 11", ran)
	}
}
