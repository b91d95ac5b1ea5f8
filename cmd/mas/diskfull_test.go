package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

const (
	diskSize    = 256 << 20 // of the small file system; a store of `mas dev` and its ballast take some 100 MiB of it
	diskWriters = 8
	// diskAcknowledged changes of missions are acknowledged before the disk fills.
	diskAcknowledged = 60
)

// TestDiskFull fills the file system of a running server to its last octet, while writers write. Nothing acknowledged
// may be lost, the process lives, reads go on, and revocations go to the emergency-stop journal.
//
// Audit rows: 67.
func TestDiskFull(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		d := newDisk(t)
		d.fill(0)
		d.full()
		// The space comes back: the same process goes on, and takes the stop into its log.
		d.free()
		d.goesOn()
		if err := d.server.stop(); err != nil {
			t.Errorf("stopping: %v\n%s", err, d.server.log)
		}
		d.restart()
		d.report("at once, freed while it ran")
	})
	t.Run("slowly", func(t *testing.T) {
		d := newDisk(t)
		d.fill(5 * time.Millisecond)
		d.full()
		d.server.kill()
		d.free()
		d.restart()
		d.report("slowly, killed while it was full")
	})
	t.Run("stopped while full", func(t *testing.T) {
		d := newDisk(t)
		d.fill(0)
		d.full()
		if err := d.server.stop(); err == nil {
			t.Error("a server that takes no writes ended without a failure")
		}
		d.free()
		d.restart()
		d.report("at once, told to stop while it was full")
	})
}

// A disk is a small file system, the server on it, and those who use it.
type disk struct {
	t       *testing.T
	mount   string
	filler  *os.File
	filled  int64
	program string
	listen  string
	dir     string
	server  *server
	cast    *cast
	writers []*writer

	stopWriters func()
	mu          sync.Mutex // guards what follows
	acks        int
	refused     int
	stopped     []*moved // revoked into the emergency-stop journal
	checked     int
}

// newDisk makes a file system, starts a server on it, and has writers write.
func newDisk(t *testing.T) *disk {
	d := &disk{t: t, program: program(t, ""), listen: lastingAddress(t), mount: mountSmall(t)}
	d.dir = filepath.Join(d.mount, "data")
	settings := "listen: " + d.listen + "\nissuer: http://" + d.listen + "\nlimits: {rate: 100000}\ntelemetry: {level: warn}\n"
	if err := errors.Join(os.Mkdir(d.dir, 0o700),
		os.WriteFile(filepath.Join(d.dir, "config.yaml"), []byte(settings), 0o600)); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.cast, d.writers = company(t, d.server, diskWriters, 1)
	for _, w := range d.writers {
		w.heard = func(a acknowledgement) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if a.change {
				d.acks++
			}
		}
	}
	d.write()
	d.await("the writers", func() bool { return d.acknowledged() >= diskAcknowledged })
	return d
}

// mountSmall mounts a fresh ext4 of diskSize octets.
func mountSmall(t *testing.T) string {
	t.Helper()
	missing := func(what string) {
		if os.Getenv("REQUIRE_ALL") != "" {
			t.Fatal("MISSING " + what + ": nothing shows what a full disk does")
		}
		t.Skip("MISSING " + what + ": nothing shows what a full disk does")
	}
	if os.Geteuid() != 0 {
		missing("root")
	}
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", image).CombinedOutput(); err != nil {
		missing(fmt.Sprintf("mkfs.ext4 (%v %s)", err, out))
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		missing(fmt.Sprintf("the right to mount (%v %s)", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

func (d *disk) start() {
	d.t.Helper()
	d.server = launch(d.t, d.program, d.dir, d.listen)
	if err := d.server.ready(crashPatience); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) acknowledged() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acks
}

func (d *disk) await(what string, done func() bool) {
	d.t.Helper()
	for end := time.Now().Add(crashPatience); !done(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-d.server.done:
			d.t.Fatalf("waiting for %s: the server ended: %v\n%s", what, d.server.err, d.server.log)
		default:
		}
		if time.Now().After(end) {
			d.t.Fatalf("waiting for %s: not after %v\n%s", what, crashPatience, d.server.log)
		}
	}
}

// write has the writers write in the background until stopWriters is called. Requests may be refused for want of space;
// nothing else may go wrong.
func (d *disk) write() {
	ctx, cancel := context.WithCancel(d.t.Context())
	var busy sync.WaitGroup
	for _, w := range d.writers {
		busy.Go(func() {
			for ctx.Err() == nil {
				err := w.step(d.t.Context()) // a request in flight is finished
				if err == nil {
					continue
				}
				if !d.excused(w, err) {
					d.t.Errorf("%s: %v", w.name, err)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	d.stopWriters = sync.OnceFunc(func() {
		cancel()
		busy.Wait()
	})
	d.t.Cleanup(d.stopWriters)
}

// excused: refused with 503, or a revocation that was answered by the emergency-stop journal, with nothing signed.
func (d *disk) excused(w *writer, err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if refused, ok := errors.AsType[*client.Error](err); ok {
		d.refused++
		return refused.Status == http.StatusServiceUnavailable
	}
	if _, ok := errors.AsType[finding](err); !ok || w.moving == nil || w.moving.op != mission.OpRevoke {
		return false
	}
	m := w.moving.mission
	d.stopped = append(d.stopped, m)
	same := func(o *moved) bool { return o == m }
	w.moving, w.open = nil, slices.DeleteFunc(w.open, same)
	w.missions, w.touched = slices.DeleteFunc(w.missions, same), slices.DeleteFunc(w.touched, same)
	return true
}

// fill writes a file until not one octet more goes into it and none has for longer than the server takes to notice and
// to give up its ballast. With a pause it goes in small steps.
func (d *disk) fill(pause time.Duration) {
	var err error
	if d.filler, err = os.Create(filepath.Join(d.mount, "filler")); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { d.filler.Close() })
	chunk := make([]byte, 1<<20)
	if pause > 0 {
		chunk = chunk[:256<<10]
	}
	for quiet := time.Now(); time.Since(quiet) < 2*time.Second; {
		n, err := d.pour(chunk, pause)
		if err != nil {
			d.t.Fatal(err)
		}
		if n > 0 {
			quiet = time.Now()
		}
		select {
		case <-d.server.done:
			d.t.Fatalf("the server ended when the disk was full: %v\n%s", d.server.err, d.server.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// pour writes chunks, then single octets, until the disk takes no more.
func (d *disk) pour(chunk []byte, pause time.Duration) (total int64, err error) {
	for size := len(chunk); size > 0; {
		n, err := d.filler.WriteAt(chunk[:size], d.filled)
		d.filled += int64(n)
		total += int64(n)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 16
		case err != nil:
			return total, err
		default:
			time.Sleep(pause)
		}
	}
	return total, nil
}

// full looks at the server while not one octet is free.
func (d *disk) full() {
	t := d.t
	d.await("a refusal", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.refused > 0
	})
	d.stopWriters()
	before := d.acknowledged()
	if status, text := readiness(t, d.server); status != http.StatusServiceUnavailable || !strings.Contains(text, "write:") {
		t.Errorf("readiness %d %s", status, text)
	}
	if _, err := newMission(t.Context(), d.server.client("agent"), d.server.client("approver")); !isUnavailable(err) {
		t.Errorf("a new mission on a full disk: %v", err)
	}
	d.readsGoOn()
	m := d.anActive()
	resp, err := d.server.client("operator").Form(t.Context(), "/mas/missions/lifecycle", url.Values{
		"mission_id": {string(m.id)}, "operation": {"revoke"}, "nonce": {"full-stop"}})
	if err != nil || !strings.Contains(string(resp.Body), `"publication":"pending"`) {
		t.Fatalf("a revocation on a full disk: %v\n%s", err, d.server.log)
	}
	d.stopped = append(d.stopped, m)
	d.forget(m)
	for _, m := range d.stopped {
		if st, err := d.ask(m); err == nil && st.State == mission.Active {
			t.Errorf("%s was stopped and is signed to be active", m.id)
		} else if err != nil && !isUnavailable(err) {
			t.Errorf("the status of %s, which was stopped: %v", m.id, err)
		}
	}
	d.readsGoOn()
	if n, err := d.pour(make([]byte, 1), 0); n != 0 || err != nil {
		t.Errorf("the disk was not full: it took %d octets more, %v", n, err)
	}
	if after := d.acknowledged(); after != before {
		t.Errorf("%d changes were acknowledged on a full disk", after-before)
	}
	select {
	case <-d.server.done:
		t.Fatalf("the server ended: %v\n%s", d.server.err, d.server.log)
	default:
	}
}

// readsGoOn: every mission is signed to be what was acknowledged, and the log is served.
func (d *disk) readsGoOn() {
	for _, w := range d.writers {
		s, err := w.settle(d.t.Context(), -1)
		if err != nil {
			d.t.Errorf("reading on a full disk: %v", err)
		}
		d.checked += s.checked
	}
	issuer, log := d.server.dev.Issuer, d.server.dev.LogOrigin[strings.IndexByte(d.server.dev.LogOrigin, '/'):]
	cp, err := ledger.OpenCheckpointBy(fetch(d.t, issuer+log+"/checkpoint"), d.server.dev.LogOrigin, d.server.dev.LogVKey)
	if err != nil {
		d.t.Fatal(err)
	}
	fetch(d.t, fmt.Sprintf("%s/v1/proofs/consistency?from=1&to=%d", issuer, cp.Size))
}

// anActive is a mission that is active.
func (d *disk) anActive() *moved {
	for _, w := range d.writers {
		for _, m := range w.missions {
			if m.state == mission.Active && (w.moving == nil || w.moving.mission != m) {
				return m
			}
		}
	}
	d.t.Fatal("no mission is active")
	return nil
}

// forget takes a mission from its writer.
func (d *disk) forget(m *moved) {
	same := func(o *moved) bool { return o == m }
	for _, w := range d.writers {
		w.missions, w.open = slices.DeleteFunc(w.missions, same), slices.DeleteFunc(w.open, same)
		w.touched = slices.DeleteFunc(w.touched, same)
	}
}

// ask asks for the signed status of a mission, as an operator.
func (d *disk) ask(m *moved) (*mission.StatusMission, error) {
	operator, nonce := d.server.client("operator"), fmt.Sprint(time.Now().UnixNano())
	resp, err := operator.Form(d.t.Context(), "/mas/missions/status", url.Values{
		"mission_id": {string(m.id)}, "nonce": {nonce}})
	if err != nil {
		return nil, err
	}
	return d.cast.read(resp.Body, operator, m.id, nonce, time.Now())
}

// free removes the file that fills the disk.
func (d *disk) free() {
	if err := errors.Join(d.filler.Close(), os.Remove(d.filler.Name())); err != nil {
		d.t.Fatal(err)
	}
}

// goesOn: the server takes changes again, and the stops into its log.
func (d *disk) goesOn() {
	before := d.acknowledged()
	d.write()
	d.await("the server to take changes again", func() bool { return d.acknowledged() >= before+diskAcknowledged })
	d.stopWriters()
	d.await("the stops in the log", func() bool { return d.revoked() == len(d.stopped) })
	if status, text := readiness(d.t, d.server); status != http.StatusOK {
		d.t.Errorf("readiness after space came back: %d %s", status, text)
	}
}

// revoked is how many of the stopped missions are signed to be revoked.
func (d *disk) revoked() (n int) {
	for _, m := range d.stopped {
		if st, err := d.ask(m); err == nil && st.State == mission.Revoked {
			n++
		}
	}
	return n
}

// restart starts the server again and compares everything; then, after an orderly stop, fsck does.
func (d *disk) restart() {
	t := d.t
	d.start()
	for _, w := range d.writers {
		s, err := w.settle(t.Context(), -1)
		if err != nil {
			t.Errorf("after the restart: %v", err)
		}
		d.checked += s.checked
	}
	if n := d.revoked(); n != len(d.stopped) {
		t.Errorf("%d of %d stops are in the log after the restart\n%s", n, len(d.stopped), d.server.log)
	}
	if status, text := readiness(t, d.server); status != http.StatusOK {
		t.Errorf("readiness after the restart: %d %s", status, text)
	}
	if err := d.server.stop(); err != nil {
		t.Errorf("stopping: %v\n%s", err, d.server.log)
	}
	elsewhere := t.TempDir()
	if err := copyDirectory(elsewhere, d.dir); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), d.program, "fsck", "--dir", elsewhere).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "clean\n") {
		t.Errorf("fsck: %v\n%s", err, out)
	}
}

func (d *disk) report(how string) {
	if d.t.Failed() {
		return
	}
	say(d.t, "disk filled to the last octet %s: acknowledged %d, refused with 503 %d, lost 0; missions read %d times; stops "+
		"%d, all in the log afterwards; fsck clean", how, d.acknowledged(), d.refused, d.checked, len(d.stopped))
}
