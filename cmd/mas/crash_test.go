package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/mission/jws"
)

const (
	crashWriters = 16
	// crashAcknowledged changes of missions at least are acknowledged in each round before the kill.
	crashAcknowledged = 100
	// crashOvertime is the longest that the writers go on after that.
	crashOvertime = 100 * time.Millisecond
	// crashSample missions of each writer that were not touched are asked for after each restart.
	crashSample = 3
	// crashPatience bounds a start.
	crashPatience = 60 * time.Second
	// crashLife rounds share a directory; then a new one begins, so that a round takes as long at the end as at the
	// beginning. fsck reads all of it: it looks at the first rounds, at one in crashFsck, and at the end.
	crashLife, crashFsck = 40, 5
)

// TestCrash kills the server again and again while 16 writers change missions, sometimes again while it recovers, and
// shows after each round that nothing acknowledged was lost and that every checkpoint continues the one before it; and
// every few rounds that `mas fsck` derives the same rows from the log and its evidence.
//
// Audit rows: 23, 63.
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := soak(1000, 8)
	var all crashes
	for done := 0; done < rounds; done += crashLife {
		c := newCrash(t)
		for round := range min(crashLife, rounds-done) {
			c.round(round)
			if t.Failed() {
				t.Fatalf("in round %d, seed %d", done+round, c.seed)
			}
		}
		c.finish()
		all.add(c)
		if rounds > crashLife {
			t.Logf("%d rounds, %d changes acknowledged", min(rounds, done+crashLife), all.acknowledged)
		}
	}
	say(t, "crash: rounds %d in %d directories, acknowledged %d (min per round %d), killed in recovery %d, lost %d, "+
		"checkpoints %d consistent, fsck %d times, differences %d", rounds, all.directories, all.acknowledged, all.fewest,
		all.inRecovery, all.lost, all.consistent, len(all.fsck), all.differences)
	say(t, "crash: missions %d, entries %d, unanswered requests found committed %d, missions and submissions compared %d",
		all.missions, all.entries, all.ahead, all.compared)
	say(t, "crash: listening after kill median %v, max %v; ready median %v, max %v (ready waits for the next second); "+
		"fsck median %v, max %v", median(all.listening), slices.Max(all.listening), median(all.ready),
		slices.Max(all.ready), median(all.fsck), slices.Max(all.fsck))
}

// crashes are the sums over several directories.
type crashes struct {
	acknowledged, fewest, inRecovery, lost, ahead, compared, differences int
	directories, missions, consistent                                    int
	entries                                                              uint64
	listening, ready, fsck                                               []time.Duration
}

func (all *crashes) add(c *crash) {
	if all.directories == 0 || c.fewest < all.fewest {
		all.fewest = c.fewest
	}
	all.directories++
	all.acknowledged += c.acknowledged
	all.inRecovery += c.inRecovery
	all.lost += c.lost
	all.ahead += c.ahead
	all.compared += c.compared
	all.differences += c.differences
	all.missions += c.missions()
	all.consistent += c.checkpoints.consistent
	all.entries += c.checkpoints.last.Size
	all.listening = append(all.listening, c.listening...)
	all.ready = append(all.ready, c.ready...)
	all.fsck = append(all.fsck, c.fsck...)
}

// say prints a result line, whether or not the test is verbose.
func say(t testing.TB, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	if !testing.Verbose() {
		fmt.Println(line)
	}
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}

// A crash is one directory, its server, and those who use it.
type crash struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	program string
	dir     string
	listen  string
	server  *server
	cast    *cast
	keys    []byte // JWKS of the issuer
	writers []*writer

	checkpoints *collector
	heard       atomic.Int64 // changes acknowledged in this round
	killed      atomic.Bool  // the server is being killed; failures are expected

	acknowledged, fewest, inRecovery, lost, ahead, compared, differences int
	listening, ready, fsck                                               []time.Duration
}

// newCrash makes a directory and starts its server for the first time.
func newCrash(t *testing.T) *crash {
	c := &crash{t: t, seed: rand.Uint64(), dir: t.TempDir(), listen: lastingAddress(t), program: program(t, "")}
	t.Logf("seed %d", c.seed)
	c.rng = rand.New(rand.NewPCG(c.seed, 0))
	settings := fmt.Sprintf("listen: %s\nissuer: http://%[1]s\nlimits: {rate: 100000}\ntelemetry: {level: warn}\n",
		c.listen)
	if err := os.WriteFile(filepath.Join(c.dir, "config.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.cast, c.writers = company(t, c.server, crashWriters, c.seed)
	for _, w := range c.writers {
		w.heard = func(a acknowledgement) {
			if a.change {
				c.heard.Add(1)
			}
		}
	}
	dev := c.server.dev
	public := client.New(dev.Issuer, "", nil)
	public.HTTP.Transport = c.cast.approver.HTTP.Transport
	c.checkpoints = &collector{server: public, origin: dev.LogOrigin, vkey: dev.LogVKey,
		path: dev.LogOrigin[strings.IndexByte(dev.LogOrigin, '/'):] + "/checkpoint"}
	c.keys = fetch(t, dev.JWKSURI)
	c.listening, c.ready = nil, nil // that was not after a kill
	return c
}

// lastingAddress is a loopback address whose port no outgoing connection gets, so that it is still free at each
// restart.
func lastingAddress(t testing.TB) string {
	t.Helper()
	lowest := 32768
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if n, err := strconv.Atoi(strings.Fields(string(text))[0]); err == nil {
			lowest = n
		}
	}
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(max(1, lowest-10000)))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// company makes the writers of one server. They and their cast use the same connections.
func company(t testing.TB, s *server, n int, seed uint64) (*cast, []*writer) {
	t.Helper()
	connections := &http.Transport{MaxIdleConnsPerHost: 2 * n}
	t.Cleanup(connections.CloseIdleConnections)
	as := func(name string) *client.Client {
		c := s.client(name)
		c.HTTP.Transport = connections
		return c
	}
	keys, err := jws.ParseKeySet(fetch(t, s.dev.JWKSURI))
	if err != nil {
		t.Fatal(err)
	}
	with := &cast{issuer: s.dev.Issuer, approver: as("approver"), operator: as("operator"), keys: keys}
	agents := []*client.Client{as("agent"), as("child")}
	writers := make([]*writer, n)
	for i := range writers {
		writers[i] = &writer{name: fmt.Sprintf("w%02d", i), with: with, agent: agents[i%len(agents)],
			rng: rand.New(rand.NewPCG(seed, uint64(i+1)))}
	}
	return with, writers
}

// fetch gets a public document.
func fetch(t testing.TB, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return body
}

// round lets the writers write, kills the server, and checks what is left and what comes back.
func (c *crash) round(n int) {
	acknowledged := c.write()
	c.acknowledged += acknowledged
	if c.fewest == 0 || acknowledged < c.fewest {
		c.fewest = acknowledged
	}
	switch { // a third of the rounds kill the recovery too, some of them until the view is rebuilt
	case n%12 == 11:
		c.killInRecovery(4)
	case n%3 == 1:
		c.killInRecovery(1)
	}
	if n < 4 || n%crashFsck == 0 {
		c.check()
	}
	if c.t.Failed() {
		return
	}
	c.start()
	c.settle(crashSample)
}

// write lets everybody write and read until enough was acknowledged, then kills the server at some later moment. It
// returns how many changes of missions were acknowledged.
func (c *crash) write() int {
	t := c.t
	c.heard.Store(0)
	c.killed.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	failed := make(chan struct{}, len(c.writers)+1)
	var busy sync.WaitGroup
	work := func(run func(context.Context) error) {
		busy.Go(func() {
			if err := run(ctx); isFinding(err) || !c.killed.Load() {
				t.Error(err)
				failed <- struct{}{}
			}
		})
	}
	for _, w := range c.writers {
		work(w.run)
	}
	work(c.checkpoints.run)
	c.await(failed)
	select {
	case <-time.After(time.Duration(c.rng.Int64N(int64(crashOvertime)))):
	case <-failed:
	}
	select {
	case <-c.server.done:
		t.Errorf("the server ended by itself: %v\n%s", c.server.err, c.server.log)
	default:
	}
	c.killed.Store(true)
	c.server.kill()
	busy.Wait()
	return int(c.heard.Load())
}

// await waits until enough changes were acknowledged.
func (c *crash) await(failed <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.heard.Load() < crashAcknowledged {
		select {
		case <-failed:
			return
		case <-c.server.done:
			return
		case <-tick.C:
		}
	}
}

// killInRecovery starts the server and kills it before it is ready, n times after its recovery has begun: the store's
// state file is the first thing that a recovery writes.
func (c *crash) killInRecovery(n int) {
	state := filepath.Join(c.dir, "store", "state")
	for tries := 10 * n; n > 0 && tries > 0; tries-- {
		before := fileBytes(c.t, state)
		s := launch(c.t, c.program, c.dir, c.listen)
		time.Sleep(time.Duration(c.rng.Int64N(int64(median(c.listening)) + 1)))
		s.kill()
		if s.cmd.ProcessState.Exited() {
			c.t.Fatalf("the server ended while it recovered: %v\n%s", s.err, s.log)
		}
		_, err := domain.ReadDev(c.dir)
		if ready := err == nil; !ready && !bytes.Equal(before, fileBytes(c.t, state)) {
			c.inRecovery++
			n--
		}
	}
}

func fileBytes(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// start starts the server and notes how long that took.
func (c *crash) start() {
	t := c.t
	t.Helper()
	began := time.Now()
	c.server = launch(t, c.program, c.dir, c.listen)
	for {
		if conn, err := net.Dial("tcp", c.listen); err == nil {
			conn.Close()
			break
		}
		select {
		case <-c.server.done:
			t.Fatalf("the server does not start: %v\n%s", c.server.err, c.server.log)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Since(began) > crashPatience {
			t.Fatalf("the server does not listen after %v", crashPatience)
		}
	}
	c.listening = append(c.listening, time.Since(began).Round(time.Millisecond))
	if err := c.server.ready(crashPatience); err != nil {
		t.Fatal(err)
	}
	c.ready = append(c.ready, time.Since(began).Round(time.Millisecond))
	if c.keys != nil {
		if keys := fetch(t, c.server.dev.JWKSURI); string(keys) != string(c.keys) {
			t.Errorf("the server came back with other keys: %s", keys)
		}
		if vkey := c.server.dev.LogVKey; vkey != c.checkpoints.vkey {
			t.Errorf("the log came back with another key: %s", vkey)
		}
	}
}

// settle compares what was acknowledged with what the server says.
func (c *crash) settle(sample int) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Minute)
	defer cancel()
	var (
		busy sync.WaitGroup
		mu   sync.Mutex
	)
	for _, w := range c.writers {
		busy.Go(func() {
			s, err := w.settle(ctx, sample)
			if err != nil {
				c.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			c.compared, c.lost, c.ahead = c.compared+s.checked, c.lost+s.lost, c.ahead+s.ahead
		})
	}
	busy.Go(func() {
		if err := c.checkpoints.collect(ctx); err != nil {
			c.t.Error(err)
		}
	})
	busy.Wait()
}

// derived is the line in which fsck says how the rows compare.
var derived = regexp.MustCompile(`rows derived from log and evidence (\d+), difference (\d+)\n`)

// check runs fsck over the directory of the server, which does not run.
func (c *crash) check() {
	began := time.Now()
	out, err := exec.Command(c.program, "fsck", "--dir", c.dir).CombinedOutput()
	c.fsck = append(c.fsck, time.Since(began).Round(time.Millisecond))
	counts := derived.FindSubmatch(out)
	if counts == nil {
		c.t.Errorf("fsck: %v\n%s", err, out)
		return
	}
	rows, _ := strconv.Atoi(string(counts[1]))
	differences, _ := strconv.Atoi(string(counts[2]))
	c.differences += differences
	// A mission has a record and a state; the rest are submissions, outcomes and what else comes from evidence.
	if err != nil || differences != 0 || rows < 2*c.missions() || !strings.HasSuffix(string(out), "clean\n") {
		c.t.Errorf("fsck of %d missions: %v\n%s", c.missions(), err, out)
	}
}

func (c *crash) missions() (n int) {
	for _, w := range c.writers {
		n += len(w.missions)
	}
	return n
}

// finish compares everything once more, stops the server in order, and checks what it leaves.
func (c *crash) finish() {
	c.settle(-1)
	if err := c.checkpoints.check(c.t.Context(), c.checkpoints.first, c.checkpoints.last); err != nil {
		c.t.Error(err)
	}
	if err := c.server.stop(); err != nil {
		c.t.Errorf("stopping: %v\n%s", err, c.server.log)
	}
	c.check()
}
