package verifier

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// MaxVectorBytes bounds a file of vectors.
const MaxVectorBytes = 1 << 20

// A Vector is one case of a conformance file {"format": 1, "cases": [...]}. testdata/vectors/README.md lists the kinds.
type Vector struct {
	Name     string      `json:"name"`
	Kind     string      `json:"kind"`
	Input    mission.Raw `json:"input"`
	Expected mission.Raw `json:"expected,omitempty"`
}

// A VectorResult is what this implementation makes of a Vector.
type VectorResult struct {
	Name   string      `json:"name"`
	Kind   string      `json:"kind"`
	Result mission.Raw `json:"result,omitempty"`
	OK     bool        `json:"ok"`
	Error  string      `json:"error,omitempty"` // why there is no result
}

// ErrVectors reports a file that is not a set of vectors.
var ErrVectors = errors.New("verifier: malformed vectors")

// ParseVectors reads a file of vectors. Members that other tools keep beside the cases are ignored.
func ParseVectors(data []byte) ([]Vector, error) {
	var file struct {
		Format int64    `json:"format"`
		Cases  []Vector `json:"cases"`
	}
	if len(data) > MaxVectorBytes {
		return nil, fmt.Errorf("%w: %d octets", ErrVectors, len(data))
	}
	if err := mission.DecodeOpen(data, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVectors, err)
	}
	if file.Format != 1 {
		return nil, fmt.Errorf("%w: format %d", ErrVectors, file.Format)
	}
	return file.Cases, nil
}

// VectorOptions select cases and say how to judge them.
type VectorOptions struct {
	Kinds      []string // empty: all
	NoExpected bool     // give results without comparing them; OK then means that there is a result
}

// RunVectors evaluates the selected cases in order. A kind that is not known, whether a case has it or only the
// selection, is a failure.
func RunVectors(cases []Vector, opts VectorOptions) []VectorResult {
	var results []VectorResult
	for _, v := range cases {
		if len(opts.Kinds) == 0 || slices.Contains(opts.Kinds, v.Kind) {
			results = append(results, runVector(v, opts))
		}
	}
	for _, kind := range opts.Kinds {
		if !knownKind(kind) && !slices.ContainsFunc(cases, func(v Vector) bool { return v.Kind == kind }) {
			results = append(results, VectorResult{Kind: kind, Error: "unknown kind"})
		}
	}
	return results
}

func runVector(v Vector, opts VectorOptions) VectorResult {
	r := VectorResult{Name: v.Name, Kind: v.Kind}
	result, known, err := evaluate(v.Kind, v.Input)
	switch {
	case !known:
		r.Error = "unknown kind"
	case err != nil:
		r.Error = err.Error()
	case opts.NoExpected:
		r.Result, r.OK = result, true
	case v.Expected.IsZero():
		r.Result, r.Error = result, "the case has no expected result"
	default:
		r.Result, r.OK = result, bytes.Equal(result.Bytes(), v.Expected.Bytes())
	}
	return r
}

// evaluate asks the packages that own the rules.
func evaluate(kind string, input mission.Raw) (result mission.Raw, known bool, err error) {
	for _, f := range []func(string, mission.Raw) (mission.Raw, bool, error){
		mission.EvaluateVector, jws.EvaluateVector, evaluateLedger,
	} {
		if result, known, err = f(kind, input); known {
			return result, known, err
		}
	}
	return mission.Raw{}, false, nil
}

// knownKind asks the owners with an input that none of them can read.
func knownKind(kind string) bool {
	_, known, _ := evaluate(kind, mission.Raw{})
	return known
}
