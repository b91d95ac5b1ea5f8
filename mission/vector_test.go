package mission_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mission-authority/mas/mission"
)

type vectorFile struct {
	Cases []vectorCase `json:"cases"`
}

type vectorCase struct {
	Name     string      `json:"name"`
	Kind     string      `json:"kind"`
	Input    mission.Raw `json:"input"`
	Expected mission.Raw `json:"expected"`
}

func vectors(t testing.TB, name string) []vectorCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "verifier", "testdata", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := mission.DecodeOpen(data, &f); err != nil {
		t.Fatal(err)
	}
	return f.Cases
}

func TestVectors(t *testing.T) {
	for _, file := range []struct {
		name  string
		cases int // that this package knows
	}{
		{"canonical.json", 115},
		{"authority.json", 76},
		{"federation.json", 3},
	} {
		ran := 0
		for _, c := range vectors(t, file.name) {
			got, known, err := mission.EvaluateVector(c.Kind, c.Input)
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
		if ran != file.cases {
			t.Errorf("%s: ran %d cases, want %d", file.name, ran, file.cases)
		}
	}
}
