package httpapi

import (
	"crypto/sha256"
	"sync"
)

// maxAssertions bounds the memory of used assertions: about 20 MB when full.
const maxAssertions = 1 << 18

// An assertionMemory remembers which assertions were used until they have expired, so that each works once. It needs no
// disk: assertions issued at or before the start of the process are refused elsewhere. When it is full nothing more is
// accepted until entries expire; it never forgets early.
type assertionMemory struct {
	mu    sync.Mutex
	used  map[[16]byte]struct{}
	due   map[int64][][16]byte // what expires in a second
	swept int64                // everything that expired before this second is gone
}

// The outcomes of use.
type useResult uint8

const (
	firstUse useResult = iota
	usedBefore
	memoryFull
)

func newAssertionMemory() *assertionMemory {
	return &assertionMemory{used: make(map[[16]byte]struct{}), due: make(map[int64][][16]byte)}
}

// use records the assertion (client, jti) that expires at the second exp, at the second now. The caller has refused
// assertions that have expired or live longer than a minute.
func (m *assertionMemory) use(client, jti string, exp, now int64) useResult {
	sum := sha256.Sum256([]byte(client + "\x00" + jti)) // neither holds a NUL
	id := [16]byte(sum[:16])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep(now)
	if _, ok := m.used[id]; ok {
		return usedBefore
	}
	if len(m.used) >= maxAssertions {
		return memoryFull
	}
	m.used[id] = struct{}{}
	m.due[exp] = append(m.due[exp], id)
	return firstUse
}

// sweep forgets what expired before now. Seconds are at most a minute ahead, so there are few of them.
func (m *assertionMemory) sweep(now int64) {
	if now <= m.swept {
		return
	}
	for exp, ids := range m.due {
		if exp < now {
			for _, id := range ids {
				delete(m.used, id)
			}
			delete(m.due, exp)
		}
	}
	m.swept = now
}
