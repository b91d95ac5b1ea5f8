package verifier

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/mission-authority/mas/mission"
)

func readVectors(t testing.TB, name string) []Vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors/" + name)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := ParseVectors(data)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// Audit rows: 121, 122.
func TestVectors(t *testing.T) {
	total := 0
	for name, kinds := range map[string][]string{
		"canonical.json": nil, "authority.json": nil, "ledger.json": nil,
		"federation.json": {"status-response", "freshness", "jws-encoding"},
	} {
		results := RunVectors(readVectors(t, name), VectorOptions{Kinds: kinds})
		if len(results) == 0 {
			t.Errorf("%s: no case was run", name)
		}
		for _, r := range results {
			if !r.OK {
				t.Errorf("%s: %s (%s): got %s %s", name, r.Name, r.Kind, r.Result.Bytes(), r.Error)
			}
		}
		total += len(results)
	}
	t.Logf("%d vectors", total)
}

// Every expected result is changed in turn: a runner that compares nothing would pass them.
func TestVectorsAreCompared(t *testing.T) {
	for _, name := range []string{"canonical.json", "authority.json", "ledger.json"} {
		cases := readVectors(t, name)
		wrong, err := mission.ParseRaw([]byte(`"something else"`))
		if err != nil {
			t.Fatal(err)
		}
		for i := range cases {
			cases[i].Expected = wrong
		}
		for _, r := range RunVectors(cases, VectorOptions{}) {
			if r.OK {
				t.Errorf("%s: %s passes whatever is expected", name, r.Name)
			}
		}
	}
}

func TestVectorSelection(t *testing.T) {
	cases := readVectors(t, "ledger.json")
	for _, tc := range []struct {
		name          string
		opts          VectorOptions
		count, failed int
	}{
		{"all", VectorOptions{}, len(cases), 0},
		{"one kind", VectorOptions{Kinds: []string{"note"}}, 5, 0},
		{"two kinds", VectorOptions{Kinds: []string{"note", "rfc6962-root"}}, 10, 0},
		{"known kind without cases", VectorOptions{Kinds: []string{"decimal"}}, 0, 0},
		{"unknown kind", VectorOptions{Kinds: []string{"note", "no-such-kind"}}, 6, 1},
	} {
		results := RunVectors(cases, tc.opts)
		failed := 0
		for _, r := range results {
			if !r.OK {
				failed++
			}
		}
		if len(results) != tc.count || failed != tc.failed {
			t.Errorf("%s: %d results with %d failed, want %d and %d", tc.name, len(results), failed, tc.count, tc.failed)
		}
	}
}

func TestVectorKindsThatAreNotKnownFail(t *testing.T) {
	results := RunVectors(readVectors(t, "federation.json"), VectorOptions{Kinds: []string{"chain", "freshness"}})
	for _, r := range results {
		if known := r.Kind == "freshness"; r.OK != known {
			t.Errorf("%s (%s): ok %v, error %q", r.Name, r.Kind, r.OK, r.Error)
		}
	}
}

func TestVectorsWithoutExpectation(t *testing.T) {
	cases := readVectors(t, "canonical.json")
	for i := range cases {
		cases[i].Expected = mission.Raw{}
	}
	for _, r := range RunVectors(cases, VectorOptions{NoExpected: true}) {
		if !r.OK || r.Result.IsZero() {
			t.Errorf("%s: %+v", r.Name, r)
		}
	}
	for _, r := range RunVectors(cases, VectorOptions{}) {
		if r.OK {
			t.Errorf("%s passes without an expected result", r.Name)
		}
	}
}

func TestParseVectorsRefuses(t *testing.T) {
	for _, text := range []string{
		"", "{}", `{"format":2,"cases":[]}`, `{"format":1}`, `{"format":1,"cases":[{"name":"a"}]}`,
		`{"format":1,"cases":[],"cases":[]}`, `{"format":1,"cases":[]} x`, strings.Repeat(" ", MaxVectorBytes+1),
	} {
		if _, err := ParseVectors([]byte(text)); err == nil {
			t.Errorf("accepted %.60q", text)
		}
	}
}

func FuzzRunVectors(f *testing.F) {
	for _, name := range []string{"canonical.json", "authority.json", "ledger.json", "federation.json"} {
		for i, v := range readVectors(f, name) {
			if i%7 == 0 {
				f.Add(v.Kind, v.Input.Bytes())
			}
		}
	}
	f.Add("strict-json", []byte(`{"text_b64":"`+base64.StdEncoding.EncodeToString([]byte("{}"))+`"}`))
	f.Fuzz(func(t *testing.T, kind string, input []byte) {
		raw, err := mission.ParseRaw(input)
		if err != nil {
			return
		}
		for _, r := range RunVectors([]Vector{{Name: "x", Kind: kind, Input: raw}}, VectorOptions{NoExpected: true}) {
			if r.OK == (r.Error != "") {
				t.Fatalf("ok %v with error %q", r.OK, r.Error)
			}
		}
	})
}
