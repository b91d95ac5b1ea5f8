package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A driver runs comparisons and prints them.
type driver struct {
	pairs   int
	length  time.Duration
	entries int
}

// An invocation is one subject with its flags.
type invocation struct {
	Subject string
	Args    []string
}

// as makes a run.
func as(subject string, args ...string) invocation { return invocation{subject, args} }

// series is what all runs of one subject in one comparison gave.
type series []measured

func (s series) of(pick func(measured) float64) (median, low, high float64) {
	values := make([]float64, len(s))
	for i, m := range s {
		values[i] = pick(m)
	}
	slices.Sort(values)
	return values[len(values)/2], values[0], values[len(values)-1]
}

func rate(m measured) float64 { return m.PerSecond }
func p50(m measured) float64  { return m.P50 }
func p99(m measured) float64  { return m.P99 }

// serverCPU is the processor time of the serving process for one request, in microseconds.
func serverCPU(m measured) float64 { return m.Extra["server_us"] }

// noise is how many cores others may use during a pair, and retries how often a pair is measured again.
const (
	noise   = 0.2
	retries = 2
)

// compare runs a and b in A-B-B-A order.
func (d *driver) compare(ctx context.Context, a, b invocation) (as, bs series, noisy int, err error) {
	for pair := range d.pairs {
		for try := 0; ; try++ {
			order := []invocation{a, b}
			if pair%2 == 1 {
				order = []invocation{b, a}
			}
			var got []measured
			worst := 0.0
			for _, r := range order {
				m, others, err := d.once(ctx, r)
				if err != nil {
					return nil, nil, 0, fmt.Errorf("%s: %w", r.Subject, err)
				}
				got, worst = append(got, m), max(worst, others)
			}
			if worst > noise && try < retries {
				continue
			}
			if worst > noise {
				noisy++
			}
			if pair%2 == 1 {
				slices.Reverse(got)
			}
			as, bs = append(as, got[0]), append(bs, got[1])
			break
		}
	}
	return as, bs, noisy, nil
}

// once runs a subject in a fresh process and directory and reports the cores that other processes used meanwhile.
func (d *driver) once(ctx context.Context, r invocation) (m measured, others float64, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return m, 0, err
	}
	defer os.RemoveAll(dir)
	exe, err := os.Executable()
	if err != nil {
		return m, 0, err
	}
	args := append([]string{"child", r.Subject, "-dir", dir, "-length", d.length.String()}, r.Args...)
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(runtime.NumCPU()), "GOGC=100")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	busy, began := machineBusy(), time.Now()
	if err := cmd.Run(); err != nil {
		return m, 0, fmt.Errorf("%w: %s", err, errs.String())
	}
	took := time.Since(began)
	own := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	others = (machineBusy() - busy - own).Seconds() / took.Seconds()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return m, others, json.Unmarshal([]byte(lines[len(lines)-1]), &m)
}

// machineBusy is the processor time of all processes since boot, in ticks of 10 ms.
func machineBusy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks int64
	for i, f := range strings.Fields(line)[1:] {
		if i == 3 || i == 4 || i > 7 { // idle, iowait; guest time is part of user
			continue
		}
		n, _ := strconv.ParseInt(f, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// row prints one line of a table: medians with minimum and maximum, and the ratio of the medians.
func row(name, target string, as, bs series, pick func(measured) float64, unit string, noisy int) {
	am, al, ah := as.of(pick)
	bm, bl, bh := bs.of(pick)
	note := ""
	if noisy > 0 {
		note = fmt.Sprintf(" (%d of %d pairs noisy)", noisy, len(as))
	}
	fmt.Printf("| %s | %s [%s..%s] %s | %s [%s..%s] %s | %.2fx | %s%s |\n", name,
		number(am), number(al), number(ah), unit, number(bm), number(bl), number(bh), unit, am/bm, target, note)
}

func number(v float64) string {
	switch {
	case v >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
}

func header(title string) {
	fmt.Printf("\n### %s\n\n| what | this log | beside it | ratio | target |\n|---|---|---|---|---|\n", title)
}

// run does the comparisons whose names are in only, or all.
func (d *driver) run(ctx context.Context, only []string) error {
	fmt.Printf("%s, %s/%s, %d cores, GOGC=100, %d pairs of %s in A-B-B-A order; median [min..max]\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), d.pairs, d.length)
	var failed error
	for _, c := range comparisons {
		if len(only) > 0 && !slices.Contains(only, c.name) {
			continue
		}
		err := c.run(d, ctx)
		switch {
		case errors.Is(err, errLeftOut):
			fmt.Printf("\n%s left out: %v\n", c.name, err)
		case err != nil:
			fmt.Printf("\n%s failed: %v\n", c.name, err)
			failed = errors.Join(failed, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return failed
}

// errLeftOut: the comparison needs what this machine does not have.
var errLeftOut = errors.New("a component is missing")
