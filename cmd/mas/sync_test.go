package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// syncDelay is by how much strace delays every fdatasync: long enough that an answer which does not wait is seen.
const syncDelay = 200 * time.Millisecond

// TestNoAcknowledgementPrecedesItsSync watches the system calls of a server under 16 writers, with every fdatasync
// delayed before it begins. Each acknowledgement is found in the trace by its content, and so is the journal frame of
// its commit: an fdatasync of the frame's file must have begun after the frame was written and have returned before the
// answer is sent.
func TestNoAcknowledgementPrecedesItsSync(t *testing.T) {
	t.Parallel() // it mostly waits
	acknowledged, violations := traced(t, "")
	fastest := slices.MinFunc(acknowledged, func(a, b acknowledgement) int { return int(a.took - b.took) }).took
	for _, v := range violations {
		t.Error(v)
	}
	if fastest < syncDelay {
		t.Errorf("something was acknowledged within %v", fastest)
	}
	say(t, "sync: acknowledgements traced %d, before their sync %d, fastest %v with fdatasync delayed by %v",
		len(acknowledged), len(violations), fastest.Round(time.Millisecond), syncDelay)
}

// TestMissingSyncIsNoticed runs the same harness over a server that does not sync.
func TestMissingSyncIsNoticed(t *testing.T) {
	t.Parallel() // it mostly waits
	acknowledged, violations := traced(t, "mas_nosync")
	if len(violations) != len(acknowledged) {
		t.Errorf("%d of %d acknowledgements without a sync were noticed", len(violations), len(acknowledged))
	}
	say(t, "sync removed: acknowledgements traced %d, violations reported %d", len(acknowledged), len(violations))
}

// traced runs a server that was built with tags under strace until every writer got some acknowledgements. It returns
// them and what the trace shows to be wrong with them.
func traced(t *testing.T, tags string) ([]acknowledgement, []string) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("REQUIRE_ALL") != "" {
			t.Fatal("MISSING strace: nothing shows that acknowledgements wait for their sync")
		}
		t.Skip("MISSING strace: nothing shows that acknowledgements wait for their sync")
	}
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "trace")
	s := launch(t, program(t, tags), dir, lastingAddress(t), strace, "-f", "-yy", "-ttt", "-s", "1000000", "-o", file,
		"-e", "trace=fdatasync,pwrite64,write,writev,sendto,sendmsg",
		"-e", "inject=fdatasync:delay_enter="+strconv.FormatInt(syncDelay.Microseconds(), 10))
	if err := s.ready(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	acknowledged := acknowledgements(t, s, soak(20, 4))
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM) // strace does not pass it on
	if err := s.stop(); err != nil {
		t.Fatalf("stopping: %v\n%s", err, s.log)
	}
	if warned := strings.Contains(s.log.String(), "built without sync"); warned != (tags != "") {
		t.Errorf("tags %q, but the server says:\n%s", tags, s.log)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tr, err := readTrace(f)
	if err != nil {
		t.Fatal(err)
	}
	var violations []string
	for _, a := range acknowledged {
		v, err := tr.check(a)
		if err != nil {
			t.Fatal(err)
		}
		if v != "" {
			violations = append(violations, v)
		}
	}
	return acknowledged, violations
}

// acknowledgements lets 16 writers work until each got n acknowledgements.
func acknowledgements(t *testing.T, s *server, n int) (all []acknowledgement) {
	_, writers := company(t, s, crashWriters, 1)
	var (
		busy sync.WaitGroup
		mu   sync.Mutex
	)
	for _, w := range writers {
		left := n
		w.heard = func(a acknowledgement) {
			left--
			mu.Lock()
			defer mu.Unlock()
			all = append(all, a)
		}
		busy.Go(func() {
			for left > 0 {
				if err := w.step(t.Context()); err != nil {
					t.Errorf("%s: %v", w.name, err)
					return
				}
			}
		})
	}
	busy.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// A trace is what strace saw of one server, in the order in which it saw it. strace stops a thread at the beginning and
// at the end of each call and lets it go on when it has noted that: what a thread does because a call returned is
// always noted after the call's end.
type trace struct {
	frames  []call // pwrite64 into a segment of the journal
	syncs   []call // fdatasync that succeeded
	answers []call // what was sent with a status of 2xx
}

// A call is one system call: its place in the order of the trace when it began and when it had returned.
type call struct {
	name, file, data, result string
	began, returned          int
}

// check says what is wrong with one acknowledgement: "" if nothing is. The error is of the trace: what was acknowledged
// is not in it.
func (tr *trace) check(a acknowledgement) (string, error) {
	holds := func(text string) func(call) bool {
		return func(c call) bool { return strings.Contains(c.data, text) }
	}
	f := slices.IndexFunc(tr.frames, holds(a.frame))
	r := slices.IndexFunc(tr.answers, holds(a.answer))
	if f < 0 || r < 0 {
		return "", fmt.Errorf("frame or answer of %s are not among the %d and %d in the trace", a.frame, len(tr.frames),
			len(tr.answers))
	}
	frame, answer := tr.frames[f], tr.answers[r]
	if slices.ContainsFunc(tr.syncs, func(c call) bool {
		return c.file == frame.file && c.began > frame.returned && c.returned < answer.began
	}) {
		return "", nil
	}
	return fmt.Sprintf("%s was acknowledged before its frame was synced", a.frame), nil
}

var (
	traceLine = regexp.MustCompile(`^(\d+) +[\d.]+ (.*)\n$`)
	resumed   = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
	started   = regexp.MustCompile(`^(\w+)\((\d+)<(.*?)>(?:\)|, (.*)$|$| )`)
	returned  = regexp.MustCompile(` = (-?\d+)[^=]*$`)
	segment   = regexp.MustCompile(`/journal/\d{20}\.seg$`)
)

// readTrace reads the output of strace -f -yy -ttt.
func readTrace(r io.Reader) (*trace, error) {
	tr, open := &trace{}, map[string]call{}
	lines := bufio.NewReaderSize(r, 1<<20)
	for n := 0; ; n++ {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return tr, nil
		}
		if err != nil {
			return nil, err
		}
		m := traceLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %d of the trace: %.200s", n+1, line)
		}
		thread, text := m[1], m[2]
		if strings.HasPrefix(text, "+++") || strings.HasPrefix(text, "---") {
			continue
		}
		c := call{began: n}
		if rest := resumed.FindStringSubmatch(text); rest != nil {
			if c = open[thread]; c.name != rest[1] {
				return nil, fmt.Errorf("line %d of the trace: %s was not begun", n+1, rest[1])
			}
			delete(open, thread)
		} else if err := c.begin(text); err != nil {
			return nil, fmt.Errorf("line %d of the trace: %w", n+1, err)
		}
		if strings.HasSuffix(text, "<unfinished ...>") {
			open[thread] = c
			continue
		}
		if m := returned.FindStringSubmatch(text); m != nil {
			c.returned, c.result = n, m[1]
			tr.add(c)
		}
	}
}

// begin reads the beginning of a call: its name, its file and, if it writes, what.
func (c *call) begin(text string) error {
	m := started.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%.200s", text)
	}
	c.name, c.file = m[1], m[3]
	if strings.HasPrefix(m[4], `"`) {
		c.data = unquote(m[4][1:])
	}
	return nil
}

// unquote undoes the C escapes of a string up to its closing quotation mark.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s) && s[i] != '"'; i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if plain := strings.IndexByte("tnvfr", s[i]); plain >= 0 {
			b.WriteByte("\t\n\v\f\r"[plain])
			continue
		}
		digits := 0
		for digits < 3 && i+digits < len(s) && s[i+digits] >= '0' && s[i+digits] <= '7' {
			digits++
		}
		if digits == 0 { // a quotation mark or a backslash
			b.WriteByte(s[i])
			continue
		}
		n, _ := strconv.ParseUint(s[i:i+digits], 8, 8)
		b.WriteByte(byte(n))
		i += digits - 1
	}
	return b.String()
}

// add keeps a call that matters.
func (tr *trace) add(c call) {
	failed := strings.HasPrefix(c.result, "-")
	switch {
	case c.name == "pwrite64" && segment.MatchString(c.file):
		c.data = payload(c.data)
		tr.frames = append(tr.frames, c)
	case c.name == "fdatasync" && !failed:
		tr.syncs = append(tr.syncs, c)
	case strings.HasPrefix(c.file, "TCP:") && strings.HasPrefix(c.data, "HTTP/1.1 2"):
		tr.answers = append(tr.answers, c)
	}
}

// payload is what a journal frame holds: its sectors without the mark that each but the first begins with.
func payload(frame string) string {
	const sector = 512
	var b strings.Builder
	for i := 0; i < len(frame); i += sector {
		b.WriteString(frame[i+min(i, 1) : min(i+sector, len(frame))])
	}
	return b.String()
}

// TestReadTrace: the harness tells an answer that waited for the sync of its own frame from one that did not.
func TestReadTrace(t *testing.T) {
	const (
		frame   = `10 1.1 pwrite64(7</d/journal/00000000000000000001.seg>, "\365frm\0\"nonce-1", 20, 512) = 512`
		began   = `10 1.2 fdatasync(7</d/journal/00000000000000000001.seg> <unfinished ...>`
		synced  = `10 1.4 <... fdatasync resumed>) = 0 (DELAYED)`
		answer  = `11 1.3 write(9<TCP:[127.0.0.1:8420->127.0.0.1:40000]>, "HTTP/1.1 200 OK\r\n\r\ntoken.1", 30) = 30`
		refusal = `11 1.3 write(9<TCP:[127.0.0.1:8420->127.0.0.1:40000]>, "HTTP/1.1 409 Conflict\r\n\r\ntoken.1", 30) = 30`
		other   = `10 1.2 fdatasync(8</d/journal/00000000000000000009.seg>) = 0`
		failed  = `10 1.2 fdatasync(7</d/journal/00000000000000000001.seg>) = -1 EIO (Input/output error)`
		whole   = `10 1.2 fdatasync(7</d/journal/00000000000000000001.seg>) = 0`
	)
	for name, c := range map[string]struct {
		lines []string
		want  string // what check says: ok, early, absent
	}{
		"in order":                {[]string{frame, began, synced, answer}, "ok"},
		"while it syncs":          {[]string{frame, began, answer, synced}, "early"},
		"before it syncs":         {[]string{frame, answer, whole}, "early"},
		"synced before the frame": {[]string{whole, frame, answer}, "early"},
		"sync began too soon":     {[]string{began, strings.ReplaceAll(frame, "10 1.1", "12 1.1"), synced, answer}, "early"},
		"another file":            {[]string{frame, other, answer}, "early"},
		"failed":                  {[]string{frame, failed, answer}, "early"},
		"no sync":                 {[]string{frame, answer}, "early"},
		"no answer":               {[]string{frame, whole}, "absent"},
		"no success":              {[]string{frame, whole, refusal}, "absent"},
		"no frame":                {[]string{whole, answer}, "absent"},
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := readTrace(strings.NewReader(strings.Join(c.lines, "\n") + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			got := "ok"
			switch v, err := tr.check(acknowledgement{frame: `"nonce-1`, answer: "token.1"}); {
			case err != nil:
				got = "absent"
			case v != "":
				got = "early"
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
