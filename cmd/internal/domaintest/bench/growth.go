package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func init() {
	subjects["grow"] = grow
	subjects["growth"] = growth
}

// memoryLimit is the GOMEMLIMIT of the growing process: a memory cgroup needs rights that a benchmark should not need.
const memoryLimit = 440 << 20

// A window is what one span of entries took. It is kept in steps of 10 us, so that it costs no memory to speak of.
type window struct {
	began, ended time.Time
	count        atomic.Int64
	steps        [windowSteps]atomic.Int32
}

const (
	windowStep  = 10 * time.Microsecond
	windowSteps = 50_000 // half a second
)

func (w *window) add(took time.Duration) {
	w.count.Add(1)
	w.steps[min(int(took/windowStep), windowSteps-1)].Add(1)
}

func (w *window) rate() float64 { return float64(w.count.Load()) / w.ended.Sub(w.began).Seconds() }

// at returns a quantile in milliseconds.
func (w *window) at(q float64) float64 {
	left := int64(q * float64(w.count.Load()))
	for i := range w.steps {
		if left -= int64(w.steps[i].Load()); left < 0 {
			return float64(i+1) * windowStep.Seconds() * 1000
		}
	}
	return windowSteps * windowStep.Seconds() * 1000
}

// grow appends the setup's entries and measures the first and the last tenth, memory, and octets written. Then it says
// so and goes on appending until it is killed.
func grow(ctx context.Context, s setup) (measured, error) {
	l, err := openLog(ctx, s.Dir)
	if err != nil {
		return measured{}, err
	}
	t, err := newTemplate()
	if err != nil {
		return measured{}, err
	}
	tenth := int64(s.Entries / 10)
	var (
		next        atomic.Int64
		finished    atomic.Int64
		first, last window
		longest     atomic.Int64
		memory      atomic.Int64
		wg          sync.WaitGroup
		errs        = make(chan error, s.Writers)
		done        = make(chan struct{})
	)
	began, writtenBefore := time.Now(), writtenOctets(s.Dir)
	first.began = began
	go func() {
		for {
			memory.Store(max(memory.Load(), anonymousMemory()))
			time.Sleep(50 * time.Millisecond)
		}
	}()
	for range s.Writers {
		wg.Go(func() {
			for {
				from := time.Now()
				if _, err := l.Commit(ctx, t.change(int(next.Add(1)))); err != nil {
					errs <- err
					return
				}
				took, n := time.Since(from), finished.Add(1)
				switch {
				case n <= tenth:
					first.add(took)
				case n > int64(s.Entries)-tenth && n <= int64(s.Entries):
					last.add(took)
				}
				if n <= int64(s.Entries) {
					for old := longest.Load(); int64(took) > old && !longest.CompareAndSwap(old, int64(took)); {
						old = longest.Load()
					}
				}
				switch n {
				case tenth:
					first.ended = time.Now()
				case int64(s.Entries) - tenth:
					last.began = time.Now()
				case int64(s.Entries):
					last.ended = time.Now()
					close(done)
				}
			}
		})
	}
	select {
	case err := <-errs:
		return measured{}, err
	case <-done:
	}
	m := measured{
		PerSecond: float64(s.Entries) / last.ended.Sub(began).Seconds(), Count: s.Entries, P99: last.at(0.99),
		Extra: map[string]float64{
			"seconds":    last.ended.Sub(began).Seconds(),
			"first_rate": first.rate(), "last_rate": last.rate(),
			"first_p99": first.at(0.99), "last_p99": last.at(0.99), "longest": float64(longest.Load()) / 1e6,
			"memory": float64(memory.Load()), "written": float64(writtenOctets(s.Dir)-writtenBefore) / float64(s.Entries),
		},
	}
	if err := json.NewEncoder(os.Stdout).Encode(m); err != nil {
		return m, err
	}
	wg.Wait() // until it is killed
	return m, <-errs
}

// writtenOctets is what was written to the device that dir is on since it was started, by whomever: what the kernel
// says of a process counts a page that is written through a memory map as large as it is cached.
func writtenOctets(dir string) int64 {
	var st syscall.Stat_t
	if syscall.Stat(dir, &st) != nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", st.Dev>>8&0xfff, st.Dev&0xff|st.Dev>>12&0xfff00))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 7 {
		return 0
	}
	sectors, _ := strconv.ParseInt(fields[6], 10, 64)
	return sectors * 512
}

// anonymousMemory is the resident memory of this process that is no file.
func anonymousMemory() int64 { return procField("/proc/self/status", "RssAnon:", 1024) }

// procField reads a number after a label of a file in /proc, 0 if there is none.
func procField(path, label string, unit int64) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, label); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n * unit
		}
	}
	return 0
}

// growth grows a log in a process of its own, kills that while it appends, measures how long the log takes to answer
// again (store open, tree checked against the signed checkpoint, a proven read and an inclusion proof given), and what
// it takes on the disk after an orderly stop.
func growth(ctx context.Context, s setup) (measured, error) {
	exe, err := os.Executable()
	if err != nil {
		return measured{}, err
	}
	cmd := exec.CommandContext(ctx, exe, "child", "grow", "-dir", s.Dir, "-writers", strconv.Itoa(s.Writers),
		"-entries", strconv.Itoa(s.Entries))
	cmd.Env = append(os.Environ(), "GOMEMLIMIT="+strconv.Itoa(memoryLimit))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return measured{}, err
	}
	if err := cmd.Start(); err != nil {
		return measured{}, err
	}
	var m measured
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &m)
	}
	time.Sleep(200 * time.Millisecond)
	if err2 := cmd.Process.Signal(syscall.SIGKILL); err == nil {
		err = err2
	}
	cmd.Wait() // it was killed
	if err != nil {
		return m, fmt.Errorf("the growing process said %q: %w", line, err)
	}
	began := time.Now()
	l, err := openLog(ctx, s.Dir)
	if err != nil {
		return m, err
	}
	head, err := answers(l)
	m.Extra["ready"], m.Extra["entries"] = time.Since(began).Seconds(), float64(head.Size)
	m.Extra["replayed"] = float64(l.store.Recovery().Replayed)
	if err := errors.Join(err, l.stop()); err != nil {
		return m, err
	}
	view, err := allocated(filepath.Join(s.Dir, "store", "badger"))
	if err != nil {
		return m, err
	}
	kept, err := allocated(filepath.Join(s.Dir, "store", "journal"))
	m.Extra["view"], m.Extra["journal"] = float64(view)/float64(head.Size), float64(kept)/float64(head.Size)
	return m, err
}

// allocated is what the files below dir take on the disk.
func allocated(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		}
		return nil
	})
	return total, err
}

// growth is P9 to P13, which share one run.
func (d *driver) growth(ctx context.Context) error {
	m, others, err := d.once(ctx, as("growth", "-entries", strconv.Itoa(d.entries), "-writers", "256"))
	if err != nil {
		return err
	}
	x := m.Extra
	fmt.Printf("\n### P9 to P13: growth to %d entries, 256 writers, %.0f s, GOMEMLIMIT=%d MiB (no memory cgroup)\n\n",
		m.Count, x["seconds"], memoryLimit>>20)
	fmt.Printf("statements from a template, as above; other processes used %.2f cores\n\n", others)
	fmt.Print("| what | measured | beside it | ratio | target |\n|---|---|---|---|---|\n")
	const entry = entrySize + 32
	say := func(what, measured, beside, ratio, target string) {
		fmt.Printf("| %s | %s | %s | %s | %s |\n", what, measured, beside, ratio, target)
	}
	times := func(v float64) string { return fmt.Sprintf("%.2fx", v) }
	say("P9 rate, last tenth beside first", number(x["last_rate"])+" /s", number(x["first_rate"])+" /s",
		times(x["last_rate"]/x["first_rate"]), ">= 0.85x")
	say("P9 p99, last tenth beside first", number(x["last_p99"])+" ms", number(x["first_p99"])+" ms",
		times(x["last_p99"]/x["first_p99"]), "<= 1.5x")
	say("P9 longest append", number(x["longest"])+" ms", "-", "-", "<= 250 ms")
	say("P10 peak RssAnon", fmt.Sprintf("%.0f MiB", x["memory"]/(1<<20)), "-", "-", "<= 512 MB")
	say("P11 octets written to the device for an entry", number(x["written"]), strconv.Itoa(entry), times(x["written"]/entry), "<= 4x")
	say("P12 view on the disk for an entry", number(x["view"]), strconv.Itoa(entry), times(x["view"]/entry), "<= 1.5x")
	say("the journal, kept whole", number(x["journal"]), strconv.Itoa(entry), times(x["journal"]/entry), "-")
	say("P13 ready after kill -9", fmt.Sprintf("%.2f s", x["ready"]), "-", "-", "<= 2 s")
	fmt.Printf("\n%.0f frames were replayed; %.0f entries a second over the whole run.\n", x["replayed"], m.PerSecond)
	return nil
}
