package authority

import (
	"sync"
	"time"
)

// answers keeps decided status answers for the second they were decided in: what authorised them, what was proven and
// the bytes that were built are the same until the mission, the principals or the second change. Only the nonce, the
// signature and the emergency stops are per request. Nothing is kept under a closed latch, in doubt, or for a mission
// that follows another one.
type answers struct {
	mu     sync.Mutex
	second int64
	kept   map[answerKey]keptAnswer
}

type answerKey struct {
	mission  string
	caller   *Principal // a new version of the principals has new ones
	audience string
}

type keptAnswer struct {
	*decided
	seq uint64 // commit group of the view it was last known to hold at
}

const maxAnswers = 8192

// get returns the answer to a query if it is still right at r.
func (k *answers) get(key answerKey, r *reading) *decided {
	k.mu.Lock()
	p, ok := k.kept[key]
	if k.second != r.at.Unix() || r.doubt {
		ok = false
	}
	k.mu.Unlock()
	if !ok || !p.until.IsZero() && !r.at.Before(p.until) {
		return nil
	}
	seq := r.Head().Seq
	if seq == p.seq {
		return p.decided
	}
	row, err := r.Get(p.row.Key)
	if err != nil || row.Version != p.row.Version || row.JustifiedBy != p.row.JustifiedBy {
		return nil
	}
	p.seq = max(p.seq, seq)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.second == r.at.Unix() {
		k.kept[key] = p
	}
	return p.decided
}

// put keeps an answer for the rest of the second.
func (k *answers) put(key answerKey, r *reading, p *decided) {
	if !p.lasting {
		return
	}
	second := r.at.Truncate(time.Second).Unix()
	k.mu.Lock()
	defer k.mu.Unlock()
	if second > k.second || k.kept == nil {
		k.second, k.kept = second, make(map[answerKey]keptAnswer)
	}
	if second == k.second && len(k.kept) < maxAnswers {
		k.kept[key] = keptAnswer{p, r.Head().Seq}
	}
}
