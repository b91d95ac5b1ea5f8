// Package model is an executable model of how a log keeps its promises: the writer, its journal and its view, what it
// publishes, a witness, and everything that can happen to them. It is small enough to be explored whole.
//
// A log is the sequence of its changes. Time passes in actions; between any two of them the process may be killed or
// the power may fail. What the model leaves out is what other tests show: signatures, hashes, proofs, rows, and the
// decision which of several waiting changes comes first.
package model

import "fmt"

// Most is how many changes a log of the model can have.
const Most = 5

// A History is a log: its changes, oldest first, in four bits each; the lowest four are how many there are.
type History uint32

// Len is the number of changes.
func (h History) Len() int { return int(h & 15) }

// Append returns the log with one more change.
func (h History) Append(id uint8) History {
	return (h + 1) | History(id)<<(4+4*h.Len())
}

// Prefix returns the first n changes.
func (h History) Prefix(n int) History {
	return h & ^History(15) & (1<<(4+4*n)-1) & ^History(15) | History(n)
}

// Extends reports whether h is old with nothing or more at its end.
func (h History) Extends(old History) bool {
	return h.Len() >= old.Len() && h.Prefix(old.Len()) == old
}

// Has reports whether the change is in the log.
func (h History) Has(id uint8) bool {
	for i := range h.Len() {
		if uint8(h>>(4+4*i))&15 == id {
			return true
		}
	}
	return false
}

// String lists the changes.
func (h History) String() string {
	b := []byte{'['}
	for i := range h.Len() {
		b = append(b, '0'+byte(h>>(4+4*i))&15)
	}
	return string(append(b, ']'))
}

// A Disk is the directory of a log.
type Disk struct {
	Journal History // as the system shows it
	Synced  uint8   // frames of the journal that a loss of power leaves
	View    History // the queryable store, never synced, and behind the journal by what readers find in memory
}

// Phase is how far the change that is being committed has come.
type Phase uint8

// The phases.
const (
	Idle    Phase = iota
	Signed        // the tree is extended in memory and its head signed; nobody has seen it
	Written       // the frame is in the system's caches
	Synced        // the frame is on the disk
)

// A State is everything at one moment.
type State struct {
	Disk      Disk
	Up        bool
	Write     bool    // the write latch is closed
	Integrity bool    // the integrity latch is closed
	Mem       History // what the next change extends
	Published History // what readers are served
	Doing     uint8   // the change that is being committed; 0: none
	Phase     Phase
	Next      uint8  // the next change that somebody wants
	Acked     uint16 // changes whose callers were told that they are done, by bit
	Refused   uint16 // changes whose callers were told that nothing was written

	Witness    History // what the witness has kept
	WitnessMem History // what it goes by until it crashes

	Backup    Disk
	HasBackup bool
	Replaced  bool // the journal was put back, and nobody has looked at it yet
	Restored  bool // it was put back, and nothing on this machine shows it

	Released [Most + 1]History // by size: the head that readers were served
	Cosigned [Most + 1]History // by size: the head that a cosignature was given for
	Size     uint8             // of the largest head released since the last restore

	Crashes, Restores, WitnessCrashes uint8

	Broken string // which promise was broken by the last action
}

// Bounds limit what is explored, and choose the policy.
type Bounds struct {
	Changes, Crashes, Restores, WitnessCrashes int
	FailClosed                                 bool // publish only what the witness has cosigned
	Bug                                        Bug
}

// A Bug is a mistake that the real program must not make.
type Bug uint8

// The bugs. None is the design.
const (
	None                Bug = iota
	AckBeforeSync           // a caller is answered when its frame is written
	PublishBeforeSync       // readers are served a head whose frame is only written
	FailedSyncIgnored       // a commit goes on although its sync failed
	DoubtRefused            // after a failed sync the caller is told that nothing was written
	TrustUnsyncedFrame      // recovery does not write a frame again whose sync may have failed
	CutWholeFrame           // recovery takes the last whole frame for a torn one
	ViewIsTruth             // recovery believes the view and cuts the journal to it
	RollBackView            // recovery cuts a view that knows more than the journal instead of latching
	WitnessForgets          // the witness answers before it has kept what it saw
	WitnessTrusts           // the witness cosigns what does not extend what it saw
	WitnessAheadIgnored     // a log that its witness is ahead of goes on
	PublishUncosigned       // under fail-closed a head is published without a cosignature after recovery
)

// Bugs lists them.
var Bugs = []Bug{AckBeforeSync, PublishBeforeSync, FailedSyncIgnored, DoubtRefused, TrustUnsyncedFrame, CutWholeFrame,
	ViewIsTruth, RollBackView, WitnessForgets, WitnessTrusts, WitnessAheadIgnored, PublishUncosigned}

// String names the bug.
func (b Bug) String() string {
	return [...]string{"none", "ack before sync", "publish before sync", "failed sync ignored", "doubt is called refusal",
		"trust an unsynced frame", "cut a whole frame", "the view is the truth", "roll back the view", "witness forgets",
		"witness trusts", "a witness ahead is ignored", "publish without a cosignature"}[b]
}

// Start is an empty log that runs.
func Start() State { return State{Up: true, Next: 1} }

// A Step is one action and what it leads to.
type Step struct {
	Action string
	To     State
}

// Steps returns what can happen in s.
func (b *Bounds) Steps(s State) []Step {
	if s.Broken != "" {
		return nil
	}
	var out []Step
	add := func(to State, format string, args ...any) {
		to.check(b)
		out = append(out, Step{fmt.Sprintf(format, args...), to})
	}
	if s.Up {
		b.commit(s, add)
		b.catchUp(s, add)
		b.ask(s, add)
	} else {
		add(b.recover(s), "recover")
	}
	b.crash(s, add)
	b.restore(s, add)
	return out
}

// commit is what the writer does next.
func (b *Bounds) commit(s State, add func(State, string, ...any)) {
	if s.Integrity {
		return
	}
	next := s.Mem.Append(s.Doing)
	switch s.Phase {
	case Idle:
		if int(s.Next) <= b.Changes && !s.Write {
			s.Doing, s.Phase = s.Next, Signed
			s.Next++
			add(s, "begin %d", s.Doing)
		}
	case Signed:
		s.Disk.Journal = s.Disk.Journal.Prefix(s.Mem.Len()).Append(s.Doing)
		s.Phase = Written
		if b.Bug == AckBeforeSync {
			s.Acked |= 1 << s.Doing
		}
		if b.Bug == PublishBeforeSync {
			s.publish(next)
		}
		add(s, "write %d", s.Doing)
	case Written:
		ok := s
		ok.Disk.Synced, ok.Phase = uint8(next.Len()), Synced
		add(ok, "sync %d", s.Doing)
		switch b.Bug {
		case FailedSyncIgnored:
			s.Phase = Synced
		case DoubtRefused:
			s.Refused |= 1 << s.Doing
			fallthrough
		default:
			s.Write, s.Doing, s.Phase = true, 0, Idle
		}
		add(s, "sync fails")
	case Synced:
		if b.FailClosed && s.Cosigned[next.Len()] != next {
			return
		}
		s.Mem = next
		s.publish(next)
		s.Acked |= 1 << s.Doing
		done := s.Doing
		s.Doing, s.Phase = 0, Idle
		add(s, "publish %d", done)
	}
}

// catchUp brings the view closer to what is durable.
func (b *Bounds) catchUp(s State, add func(State, string, ...any)) {
	durable := s.Mem
	if s.Phase == Synced {
		durable = s.Mem.Append(s.Doing)
	}
	if !s.Integrity && s.Disk.View.Len() < durable.Len() {
		s.Disk.View = durable.Prefix(s.Disk.View.Len() + 1)
		add(s, "view %s", s.Disk.View)
	}
}

// publish serves readers a head.
func (s *State) publish(h History) {
	s.Published = h
	if h.Len() == 0 {
		return
	}
	if old := s.Released[h.Len()]; old != 0 && old != h {
		s.Broken = "two heads of one size were released"
	}
	if h.Len() < int(s.Size) {
		s.Broken = "a smaller head was released after a larger one"
	}
	s.Released[h.Len()] = h
	s.Size = uint8(h.Len())
}

// ask takes the newest head to the witness.
func (b *Bounds) ask(s State, add func(State, string, ...any)) {
	head := s.Published
	if b.FailClosed {
		head = s.Mem
		if s.Phase == Synced {
			head = s.Mem.Append(s.Doing)
		}
	}
	if s.Integrity || head.Len() == 0 || s.Cosigned[head.Len()] == head && s.WitnessMem == head {
		return
	}
	if head.Extends(s.WitnessMem) || b.Bug == WitnessTrusts {
		if old := s.Cosigned[head.Len()]; old != 0 && old != head {
			s.Broken = "the witness cosigned two heads of one size"
		}
		s.WitnessMem, s.Cosigned[head.Len()] = head, head
		if b.Bug != WitnessForgets {
			s.Witness = head
		}
		if b.FailClosed && s.Phase != Synced {
			s.publish(head)
		}
		add(s, "cosign %s", head)
		return
	}
	if b.Bug == WitnessAheadIgnored {
		if b.FailClosed { // as if a cosignature that is held already would do
			s.Cosigned[head.Len()] = head
		}
		s.Restored = false
	} else {
		s.Integrity = true
	}
	add(s, "witness refuses %s, it has %s", head, s.WitnessMem)
}

// crash kills the process, cuts the power, or crashes the witness.
func (b *Bounds) crash(s State, add func(State, string, ...any)) {
	if int(s.WitnessCrashes) < b.WitnessCrashes && s.WitnessMem.Len() > 0 {
		to := s
		to.WitnessMem = s.Witness
		to.WitnessCrashes++
		add(to, "the witness crashes")
	}
	if int(s.Crashes) == b.Crashes {
		return
	}
	s.Crashes++
	dead := s
	dead.Up, dead.Write, dead.Integrity, dead.Mem, dead.Published = false, false, false, 0, 0
	dead.Doing, dead.Phase = 0, Idle
	if s.Up {
		add(dead, "kill")
	}
	for frames := int(s.Disk.Synced); frames <= s.Disk.Journal.Len(); frames++ {
		for view := range s.Disk.View.Len() + 1 {
			to := dead
			to.Disk.Journal, to.Disk.View = s.Disk.Journal.Prefix(frames), s.Disk.View.Prefix(view)
			to.Disk.Synced = uint8(min(int(to.Disk.Synced), frames))
			add(to, "power fails, %d frames and %d of the view are left", frames, view)
		}
	}
}

// recover is a start.
func (b *Bounds) recover(s State) State {
	s.Up = true
	d := &s.Disk
	switch {
	case b.Bug == CutWholeFrame && d.Journal.Len() > d.View.Len():
		d.Journal = d.Journal.Prefix(d.Journal.Len() - 1)
	case b.Bug == ViewIsTruth && d.Journal.Extends(d.View):
		d.Journal = d.View
	}
	if !d.Journal.Extends(d.View) {
		if b.Bug != RollBackView {
			s.Integrity = true
			return s
		}
	}
	if s.Replaced && d.Journal.Extends(d.View) {
		s.Restored, s.Size = true, 0
	}
	s.Replaced = false
	d.View = d.Journal
	if b.Bug == TrustUnsyncedFrame {
		d.Synced = min(d.Synced, uint8(d.Journal.Len()))
	} else {
		d.Synced = uint8(d.Journal.Len())
	}
	s.Mem = d.Journal
	if !b.FailClosed || b.Bug == PublishUncosigned {
		s.publish(s.Mem)
		return s
	}
	for n := s.Mem.Len(); n > 0; n-- {
		if s.Cosigned[n] == s.Mem.Prefix(n) {
			s.publish(s.Mem.Prefix(n))
			break
		}
	}
	return s
}

// restore takes a backup, or puts it or a part of it back.
func (b *Bounds) restore(s State, add func(State, string, ...any)) {
	if s.Up && s.Phase == Idle && !s.Integrity && !s.Write && !s.HasBackup && b.Restores > 0 && s.Mem.Len() > 0 {
		to := s
		to.Backup, to.HasBackup = s.Disk, true
		to.Backup.Synced = uint8(s.Disk.Journal.Len())
		add(to, "back up %s", s.Disk.Journal)
	}
	if s.Up || !s.HasBackup || int(s.Restores) == b.Restores {
		return
	}
	s.Restores++
	for _, part := range []string{"everything", "the journal", "the view"} {
		to := s
		switch part {
		case "everything":
			to.Disk = s.Backup
		case "the journal":
			to.Disk.Journal, to.Disk.Synced = s.Backup.Journal, s.Backup.Synced
		case "the view":
			to.Disk.View = s.Backup.View
		}
		to.Replaced = to.Replaced || to.Disk.Journal != s.Disk.Journal
		add(to, "restore %s", part)
	}
}

// check holds s against the promises.
func (s *State) check(b *Bounds) {
	switch {
	case s.Broken != "":
	case s.Up && !s.Integrity && (!s.Disk.Journal.Extends(s.Published) || s.Published.Len() > int(s.Disk.Synced)):
		s.Broken = "what is published is not durable"
	case !s.Restored && !s.Replaced && s.lost():
		s.Broken = "an acknowledged change is gone"
	case s.Up && !s.Restored && !s.Integrity && s.forked():
		s.Broken = "recovery forked from what was released"
	case s.Up && s.refused():
		s.Broken = "a refused change is published"
	case s.rolledBack():
		s.Broken = "the witness rolled back"
	}
	if s.Broken == "two heads of one size were released" || s.Broken == "a smaller head was released after a larger one" {
		if s.Restored && !b.FailClosed { // not claimed: only a witness can see the restore of a whole directory
			s.Broken = ""
		}
	}
}

// lost reports whether an acknowledged change would not survive a loss of power. Behind an integrity latch it counts
// that somebody will look: nothing was overwritten.
func (s *State) lost() bool {
	if s.Up && s.Integrity || !s.Disk.Journal.Extends(s.Disk.View) {
		return false
	}
	kept := s.Disk.Journal.Prefix(min(int(s.Disk.Synced), s.Disk.Journal.Len()))
	for id := uint8(1); id < s.Next; id++ {
		if s.Acked&(1<<id) != 0 && !kept.Has(id) {
			return true
		}
	}
	return false
}

// refused reports whether a change is published whose caller was told that nothing was written.
func (s *State) refused() bool {
	for id := uint8(1); id < s.Next; id++ {
		if s.Refused&(1<<id) != 0 && s.Published.Has(id) {
			return true
		}
	}
	return false
}

// forked reports whether a head was released that the log does not extend.
func (s *State) forked() bool {
	for _, h := range s.Released {
		if h != 0 && !s.Disk.Journal.Extends(h) {
			return true
		}
	}
	return false
}

// rolledBack reports whether the witness goes by less than it has cosigned.
func (s *State) rolledBack() bool {
	for _, h := range s.Cosigned {
		if h != 0 && !s.WitnessMem.Extends(h) {
			return true
		}
	}
	return false
}
