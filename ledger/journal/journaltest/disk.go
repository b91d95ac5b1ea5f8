// Package journaltest is a disk in memory that fails on demand: it forgets what was not synced, tears writes at sector
// boundaries, runs full, and reports errors for writes that happened and for writes that did not.
//
// Only tests import it.
package journaltest

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mission-authority/mas/ledger/journal"
)

const sectorSize = 512

// Op is the kind of an operation that can fail.
type Op string

// The operations.
const (
	Open     Op = "open" // that creates the file
	Write    Op = "write"
	Sync     Op = "sync"
	Allocate Op = "allocate"
	Rename   Op = "rename"
	Remove   Op = "remove"
	SyncDir  Op = "syncdir"
)

// Fault says what happens to an operation.
type Fault uint8

// The faults. After a crash every operation fails with ErrCrashed until Restart.
const (
	None        Fault = iota
	ErrorBefore       // an error is reported and nothing has happened; a sync never writes those sectors later
	ErrorAfter        // an error is reported and it has happened all the same
	ShortWrite        // an error is reported and the first half of the sectors was written; ErrorBefore for others
	CrashBefore       // power fails first
	CrashAfter        // it happens, then power fails
)

// Faults lists every fault but None.
var Faults = []Fault{ErrorBefore, ErrorAfter, ShortWrite, CrashBefore, CrashAfter}

func (f Fault) String() string {
	return [...]string{"none", "error before", "error after", "short write", "crash before", "crash after"}[f]
}

// Errors of a failing disk.
var (
	ErrInjected = errors.New("journaltest: injected failure")
	ErrCrashed  = errors.New("journaltest: the power is off")
)

// Survivors says what is found after a crash.
type Survivors uint8

// The choices: the process was killed and the system went on with its caches; or power failed and of the unsynced
// writes and changes of directories none is found, all are, or each by the toss of a coin.
const (
	Killed Survivors = iota
	KeepNone
	KeepAll
	KeepSome
)

// AllSurvivors lists the choices.
var AllSurvivors = []Survivors{Killed, KeepNone, KeepAll, KeepSome}

func (s Survivors) String() string {
	return [...]string{"killed", "keep none", "keep all", "keep some"}[s]
}

// Disk implements journal.FS.
type Disk struct {
	mu       sync.Mutex
	names    map[string]*node // what the system sees
	durable  map[string]*node // what is on the medium
	dirs     map[string]bool
	capacity int64 // 0: unlimited
	crashed  bool
	count    int
	fault    func(n int, op Op, name string) Fault
}

type node struct {
	data    []byte
	durable []byte
	dirty   map[int64]bool // sectors written since the last sync
	// lost are sectors that a failed sync gave up on: the system shows them and will never write them again.
	lost map[int64]bool
}

func newNode(data []byte) *node {
	return &node{data: data, durable: slices.Clone(data), dirty: map[int64]bool{}, lost: map[int64]bool{}}
}

// NewDisk returns an empty disk.
func NewDisk() *Disk {
	return &Disk{names: map[string]*node{}, durable: map[string]*node{}, dirs: map[string]bool{}}
}

// Inject lets decide choose the fault of each following operation; n counts them from 1. Nil ends it.
func (d *Disk) Inject(decide func(n int, op Op, name string) Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.count = decide, 0
}

// FailAt injects one fault, at the n-th operation from now on.
func (d *Disk) FailAt(n int, f Fault) {
	d.Inject(func(i int, _ Op, _ string) Fault {
		if i == n {
			return f
		}
		return None
	})
}

// Count is the number of operations since Inject.
func (d *Disk) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// SetCapacity limits what can be stored, in octets; 0 lifts the limit.
func (d *Disk) SetCapacity(octets int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = octets
}

// Used is what is stored, in octets.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used()
}

func (d *Disk) used() (total int64) {
	for _, n := range d.names {
		total += int64(len(n.data))
	}
	return total
}

// Restart returns the disk as it is found when power comes back. The old one stays dead.
func (d *Disk) Restart(keep Survivors, rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
	kept := func() bool { return keep == KeepAll || keep == KeepSome && rng.IntN(2) == 0 }
	next := NewDisk()
	next.dirs, next.capacity = d.dirs, d.capacity
	if keep == Killed {
		next.names, next.durable = d.names, d.durable
		return next
	}
	names := make(map[string]*node, len(d.durable))
	for name, n := range d.durable {
		if _, still := d.names[name]; still || !kept() {
			names[name] = n
		}
	}
	for _, name := range sortedNames(d.names) {
		if d.durable[name] != d.names[name] && kept() {
			names[name] = d.names[name]
		}
	}
	for _, name := range sortedNames(names) {
		n := names[name]
		data := slices.Clone(n.durable)
		for _, off := range sortedOffsets(n.dirty) {
			if !kept() {
				continue
			}
			end := min(off+sectorSize, int64(len(n.data)))
			if end <= off {
				continue
			}
			data = grow(data, end)
			copy(data[off:end], n.data[off:end])
		}
		fresh := newNode(data)
		next.names[name], next.durable[name] = fresh, fresh
	}
	return next
}

// ReadFile returns the contents of name as the system sees them.
func (d *Disk) ReadFile(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[clean(name)]; n != nil {
		return slices.Clone(n.data)
	}
	return nil
}

// WriteFile replaces the contents of name, durably, without faults.
func (d *Disk) WriteFile(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := newNode(slices.Clone(data))
	d.names[clean(name)], d.durable[clean(name)] = n, n
}

// Delete removes name, durably, without faults.
func (d *Disk) Delete(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, clean(name))
	delete(d.durable, clean(name))
}

// Names lists all files.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sortedNames(d.names)
}

// do runs apply under the fault chosen for this operation. apply gets false if only the first half may happen.
func (d *Disk) do(op Op, name string, apply func(whole bool) error) error {
	if d.crashed {
		return ErrCrashed
	}
	d.count++
	fault := None
	if d.fault != nil {
		fault = d.fault(d.count, op, name)
	}
	switch fault {
	case ErrorBefore:
		return ErrInjected
	case ErrorAfter:
		return errors.Join(ErrInjected, apply(true))
	case ShortWrite:
		if op != Write {
			return ErrInjected
		}
		return errors.Join(ErrInjected, apply(false))
	case CrashBefore:
		d.crashed = true
		return ErrCrashed
	case CrashAfter:
		err := apply(true)
		d.crashed = true
		return errors.Join(ErrCrashed, err)
	}
	return apply(true)
}

// OpenFile implements journal.FS.
func (d *Disk) OpenFile(name string, flag int) (journal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return nil, ErrCrashed
	}
	name = clean(name)
	n := d.names[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case n != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case n == nil || flag&os.O_TRUNC != 0:
		err := d.do(Open, name, func(bool) error {
			n = newNode(nil)
			d.names[name] = n
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return &file{disk: d, node: n, name: name, readOnly: flag&(os.O_RDWR|os.O_WRONLY) == 0}, nil
}

// ReadDir implements journal.FS.
func (d *Disk) ReadDir(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return nil, ErrCrashed
	}
	dir = clean(dir)
	if !d.dirs[dir] {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: fs.ErrNotExist}
	}
	var names []string
	for _, name := range sortedNames(d.names) {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

// MkdirAll implements journal.FS. Directories are durable at once.
func (d *Disk) MkdirAll(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return ErrCrashed
	}
	for dir = clean(dir); dir != "." && dir != "/"; dir = filepath.Dir(dir) {
		d.dirs[dir] = true
	}
	return nil
}

// Rename implements journal.FS.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to = clean(from), clean(to)
	return d.do(Rename, from, func(bool) error {
		n := d.names[from]
		if n == nil {
			return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
		}
		delete(d.names, from)
		d.names[to] = n
		return nil
	})
}

// Remove implements journal.FS.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = clean(name)
	return d.do(Remove, name, func(bool) error {
		if d.names[name] == nil {
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
		}
		delete(d.names, name)
		return nil
	})
}

// SyncDir implements journal.FS.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir = clean(dir)
	return d.do(SyncDir, dir, func(bool) error {
		for name := range d.durable {
			if filepath.Dir(name) == dir && d.names[name] == nil {
				delete(d.durable, name)
			}
		}
		for name, n := range d.names {
			if filepath.Dir(name) == dir {
				d.durable[name] = n
			}
		}
		return nil
	})
}

// Free implements journal.FS.
func (d *Disk) Free(string) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return 0, ErrCrashed
	}
	if d.capacity == 0 {
		return 1 << 50, nil
	}
	return uint64(max(0, d.capacity-d.used())), nil
}

func clean(name string) string { return strings.TrimSuffix(filepath.Clean(name), "/") }

func grow(b []byte, size int64) []byte {
	if more := size - int64(len(b)); more > 0 {
		return append(b, make([]byte, more)...)
	}
	return b
}

func sortedNames(m map[string]*node) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func sortedOffsets(m map[int64]bool) []int64 {
	offs := make([]int64, 0, len(m))
	for off := range m {
		offs = append(offs, off)
	}
	slices.Sort(offs)
	return offs
}
