package sequencer

import "sync"

// recent remembers the newest value of each key that commit groups wrote, at a bounded size: two generations of which
// the older one is forgotten when the younger is full. It is complete for every group after floor, so a key it does
// not hold has not been written since then. That is what lets a caller look something up in an older view, in
// parallel with others, and the writer trust the answer.
//
// The zero value is not usable; see newRecent. All methods may be called concurrently.
type recent[K comparable, V any] struct {
	mu         sync.RWMutex
	limit      int // keys of one generation
	young, old map[K]stamped[V]
	youngSeq   uint64 // newest group with a key in young
	oldSeq     uint64
	floor      uint64
}

// stamped is a value with the number of the group that it was seen at.
type stamped[V any] struct {
	value V
	seq   uint64
}

// newRecent returns a memory of up to 2*limit keys that knows nothing about groups up to floor.
func newRecent[K comparable, V any](limit int, floor uint64) *recent[K, V] {
	return &recent[K, V]{limit: limit, young: make(map[K]stamped[V]), floor: floor}
}

// get returns the remembered value of k and the group it is from.
func (r *recent[K, V]) get(k K) (v V, seq uint64, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lookup(k)
}

// use is get, and keeps k from being forgotten for another generation.
func (r *recent[K, V]) use(k K) V {
	r.mu.RLock()
	s, young := r.young[k]
	old, ok := r.old[k]
	r.mu.RUnlock()
	if young || !ok {
		return s.value
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.store(k, old.value, old.seq)
	return old.value
}

// since reports whether every write after group seq is remembered.
func (r *recent[K, V]) since(seq uint64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return seq >= r.floor
}

// wrote remembers a write of group seq. Groups come in order.
func (r *recent[K, V]) wrote(k K, v V, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.store(k, v, seq)
}

// saw changes what is remembered of k after a reader saw it at group seq. With ok false k is not remembered, and change
// is called only if nothing can have been written to k after seq. If change returns false, nothing happens.
func (r *recent[K, V]) saw(k K, seq uint64, change func(v V, ok bool) (V, bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, known, ok := r.lookup(k)
	switch {
	case ok:
		seq = known
	case seq < r.floor:
		return
	}
	if v, keep := change(v, ok); keep {
		r.store(k, v, seq)
	}
}

func (r *recent[K, V]) lookup(k K) (V, uint64, bool) {
	s, ok := r.young[k]
	if !ok {
		s, ok = r.old[k]
	}
	return s.value, s.seq, ok
}

func (r *recent[K, V]) store(k K, v V, seq uint64) {
	if _, ok := r.young[k]; !ok && len(r.young) >= r.limit {
		if r.old != nil {
			r.floor = max(r.floor, r.oldSeq)
		}
		spare := r.old
		r.old, r.oldSeq = r.young, r.youngSeq
		if r.young, r.youngSeq = spare, 0; spare == nil {
			r.young = make(map[K]stamped[V])
		}
		clear(r.young) // its space serves the next generation
	}
	r.young[k] = stamped[V]{v, seq}
	r.youngSeq = max(r.youngSeq, seq)
}
