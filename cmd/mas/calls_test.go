package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A callFault is a system call of a running server that begins to fail.
type callFault struct {
	call, err string
	acks      int    // acknowledgements after which the harness stops waiting for a consequence
	latch     string // that must close; empty: the server may go on, or refuse until the call works again
}

// callFaults are calls of the journal, of the emergency stops and of the store. Badger writes through memory maps: what
// it asks the system for are syncs, sizes and new files.
var callFaults = []callFault{
	{"fdatasync", "EIO", 0, "write:"},
	{"fdatasync", "ENOSPC", 0, "write:"},
	{"pwrite64", "EIO", 0, "write:"},
	{"pwrite64", "ENOSPC", 0, "write:"},
	{"fallocate", "ENOSPC", 900, ""},
	{"fallocate", "EIO", 900, ""},
	{"openat", "EIO", 400, ""},
	{"fsync", "EIO", 400, ""},
	{"msync", "EIO", 400, ""},
	{"ftruncate", "ENOSPC", 900, ""},
}

// TestFailingCalls makes system calls of a live server fail, one kind after another, while 16 writers change missions:
// whatever the server answers in the meantime, nothing acknowledged is lost. What leaves the outcome of a commit open
// closes the write latch, which the server says when asked whether it is ready and when it is told to stop. Every start
// afterwards is clean.
//
// Audit rows: 68.
func TestFailingCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("REQUIRE_ALL") != "" {
			t.Fatal("MISSING strace: no system call is made to fail")
		}
		t.Skip("MISSING strace: no system call is made to fail")
	}
	t.Parallel()
	faults := callFaults
	if os.Getenv("SOAK") == "" {
		faults = []callFault{callFaults[0], callFaults[3], callFaults[4], callFaults[7]}
	}
	c := newCrash(t)
	say(t, "calls: %-10s %-7s %9s %9s %9s  %-28s %s", "call", "error", "acked", "after", "refused", "ready?", "told to stop")
	for _, f := range faults {
		c.fail(strace, f)
		if t.Failed() {
			t.Fatalf("with %s failing with %s, seed %d", f.call, f.err, c.seed)
		}
	}
	c.finish()
	say(t, "calls: %d kinds of failure, missions %d, acknowledged %d, missions and submissions compared %d, lost %d, "+
		"fsck differences %d", len(faults), c.missions(), c.acknowledged, c.compared, c.lost, c.differences)
}

// fail lets one kind of call fail while everybody writes, stops the server, and checks what is left and comes back.
func (c *crash) fail(strace string, f callFault) {
	t := c.t
	c.heard.Store(0)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var busy sync.WaitGroup
	var refused atomic.Int64
	for _, w := range c.writers {
		busy.Go(func() {
			for ctx.Err() == nil {
				if err := w.step(ctx); err != nil && ctx.Err() == nil {
					refused.Add(1)
					return
				}
			}
		})
	}
	c.waitFor(ctx, func() bool { return c.heard.Load() >= 50 })
	broken := c.attach(strace, f)
	before := c.heard.Load()
	c.waitFor(ctx, func() bool {
		return refused.Load() == int64(len(c.writers)) || f.acks > 0 && c.heard.Load() > before+int64(f.acks)
	})
	ready := c.readiness()
	broken() // the calls work again
	cancel()
	busy.Wait()
	after := c.heard.Load() - before
	ended := "stopped"
	select {
	case <-c.server.done:
		ended = fmt.Sprintf("ended by itself: %v", c.server.err)
		t.Errorf("%s\n%.3000s", ended, c.server.log)
	default:
		if err := c.server.stop(); err != nil {
			ended = err.Error()
		}
	}
	if latched := strings.Contains(ready, f.latch); f.latch != "" && (!latched || ended != "exit status 1") {
		t.Errorf("ready: %s; told to stop: %s; want a closed latch", ready, ended)
	}
	c.acknowledged += int(c.heard.Load())
	say(t, "calls: %-10s %-7s %9d %9d %9d  %-28s %s", f.call, f.err, before, after, refused.Load(), ready, ended)
	c.check()
	if t.Failed() {
		return
	}
	c.start()
	c.settle(crashSample)
}

// waitFor waits until ready says so or ctx ends.
func (c *crash) waitFor(ctx context.Context, ready func() bool) {
	for !ready() && ctx.Err() == nil {
		select {
		case <-c.server.done:
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// attach makes calls of the running server fail until the result is called.
func (c *crash) attach(strace string, f callFault) (detach func()) {
	c.t.Helper()
	cmd := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace="+f.call,
		"-e", "inject="+f.call+":error="+f.err, "-p", strconv.Itoa(c.server.cmd.Process.Pid))
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	traced := func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.server.cmd.Process.Pid))
		return err == nil && !strings.Contains(string(text), "TracerPid:\t0\n")
	}
	for deadline := time.Now().Add(time.Minute); !traced(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("strace does not attach: %s", said.String())
		}
	}
	return func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
}

// readiness is what the server says when asked whether it is ready.
func (c *crash) readiness() string {
	quick := http.Client{Timeout: 20 * time.Second}
	resp, err := quick.Get(c.server.dev.Issuer + "/readyz")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err.Error()
	}
	text := string(body)
	if i, j := strings.IndexByte(text, '['), strings.LastIndexByte(text, ']'); i >= 0 && j > i {
		text = strings.ReplaceAll(text[i+1:j], `"`, "")
	} else if resp.StatusCode == http.StatusOK {
		text = "ready"
	}
	return text
}
