package registry

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/mission-authority/mas/ledger"
)

// A Report is what Replay found.
type Report struct {
	Admitted    uint64
	NotAdmitted uint64
	First       []uint64 // the first of those that are not admitted, at most 100
	Policy      uint64   // number of the policy in force at the end
}

const (
	maxReported = 100
	replayChunk = 1024
)

// Replay decides the admission of every entry of a view again, from the entries and the policy bodies alone. The error
// is of reading.
func Replay(ctx context.Context, v ledger.View) (Report, error) {
	var out Report
	entry, _, body, err := publicBody(v, 0)
	if err != nil {
		return out, err
	}
	at, err := ledger.NewAdmission(entry, body)
	if err != nil {
		return out, fmt.Errorf("registry: %w: %w", ledger.ErrIntegrity, err)
	}
	out.Admitted = 1
	var chunk []*ledger.Statement // under one policy: their signatures are verified beside each other
	var first uint64              // index of the chunk's first
	flush := func() {
		for i, ok := range admitAll(at, chunk) {
			out.count(first+uint64(i), ok)
		}
		chunk = chunk[:0]
	}
	for index := uint64(1); index < v.Head().Size; index++ {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		_, s, body, err := publicBody(v, index)
		if err != nil {
			return out, err
		}
		if ledger.Governs(s.ContentType) {
			flush()
			next, err := at.Next(s, body)
			if out.count(index, err == nil); err == nil {
				at = next
			}
			continue
		}
		if len(chunk) == 0 {
			first = index
		}
		if chunk = append(chunk, s); len(chunk) == replayChunk {
			flush()
		}
	}
	flush()
	out.Policy, _ = at.PolicyInForce()
	return out, nil
}

func (r *Report) count(index uint64, admitted bool) {
	if admitted {
		r.Admitted++
		return
	}
	if r.NotAdmitted++; len(r.First) < maxReported {
		r.First = append(r.First, index)
	}
}

// admitAll decides statements under one policy with as many goroutines as can run.
func admitAll(at *ledger.Admission, chunk []*ledger.Statement) []bool {
	ok := make([]bool, len(chunk))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(chunk)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(chunk); i = int(next.Add(1)) - 1 {
				ok[i] = at.Admit(chunk[i]) == nil
			}
		})
	}
	wg.Wait()
	return ok
}
