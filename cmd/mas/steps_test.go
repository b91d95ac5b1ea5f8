package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger/durable"
)

// stepJobVar names the variable that makes a process of this test binary the one in which a step is broken.
const stepJobVar = "MAS_TEST_STEP_JOB"

// A workload is something that reaches durable steps, in a directory of its own. A package that registers steps which
// none of those in the list reaches needs one more.
type workload struct {
	name string
	// prepare makes the directory as the workload finds it; nothing is broken yet. It reports what it acknowledged.
	prepare func(t *testing.T, dir string, r *report)
	// run is the workload. It goes on after a failure as the program would, reports what it acknowledged as soon as it
	// is, and ends.
	run func(t *testing.T, dir string, r *report)
	// check opens the directory again, holds it against everything that was reported, and goes on working in it.
	check func(t *testing.T, dir string, said []fact)
}

var workloads = []workload{
	{"log", prepareLog, runLog, checkLog},
	{"log, first start", prepareNothing, runLog, checkLog},
	{"log, after a kill", prepareKilled, runLog, checkLog},
	{"log, torn tails", prepareTorn, runLog, checkLog},
	{"log, damaged view", prepareDamaged, runLog, checkLog},
	{"log, older keys", prepareOlderKeys, runLog, checkLog},
	{"log, full disk", prepareLog, runLogOnFullDisk, checkLog},
	{"keys", prepareNothing, runKeys, checkKeys},
	{"witness", prepareWitnessed, runWitnessed, checkWitnessed},
	{"witness, full", prepareFull, runWitnessed, checkWitnessed},
	{"witness, torn", prepareCut, runWitnessed, checkWitnessed},
	{"continuity", prepareContinuity, runContinuity, checkContinuity},
}

// A fact is what a workload reports.
type fact struct {
	Kind string // what was acknowledged, or "try", "saw", "step" and "end", which are the harness's
	Name string
	N    uint64
	Text []byte
}

// A report writes facts to the parent process, or keeps them if there is none.
type report struct {
	mu   sync.Mutex
	out  *os.File
	kept []fact
}

func (r *report) say(f fact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, f)
	if r.out != nil {
		line, err := json.Marshal(f)
		if err == nil {
			_, err = r.out.Write(append(line, '\n'))
		}
		if err != nil {
			os.Exit(3) // nobody listens
		}
	}
}

// saw reports how a failure showed itself: the first one is what the table says.
func (r *report) saw(what string, err error) {
	r.say(fact{Kind: "saw", Name: what, Text: []byte(err.Error())})
}

// The ways in which a step is broken.
var breakages = []string{"error, not applied", "error, applied", "crash before", "crash after"}

// A stepJob says which step breaks when and how. How is empty where none does and those that are reached are reported,
// and "check" where the directory is held against the facts on standard input.
type stepJob struct {
	Workload, Dir, Step, How string
	Hit                      int // which run of the step, from 1
}

const howCheck = "check"

var errBroken = errors.New("this step was broken by a test")

// TestDurableSteps breaks every durable step that any part of this program has registered, in every way: it reports an
// error and nothing has happened, it reports one although it has happened, and the process is killed right before and
// right after. Then the directory is opened again: nothing acknowledged is lost, fsck is clean, every checkpoint that
// was ever seen is consistent with the log as an auditor verifies it, and the log goes on. A step that no workload
// reaches fails the test.
//
// Audit rows: 63, 68, 87.
func TestDurableSteps(t *testing.T) {
	if text := os.Getenv(stepJobVar); text != "" {
		stepChild(t, text)
		return
	}
	t.Parallel()
	reached := map[string][]stepJob{} // by step
	prepared := map[string]*prepared{}
	for _, w := range workloads {
		p := prepareWorkload(t, w)
		prepared[w.name] = p
		said, err := p.child(t, stepJob{Workload: w.name})
		if err != nil {
			t.Fatalf("workload %q with nothing broken: %v", w.name, err)
		}
		hits := map[string]int{}
		for _, f := range said {
			if f.Kind == "step" {
				hits[f.Name]++
			}
		}
		for step, n := range hits {
			if len(reached[step]) == 0 || soak(1, 0) == 1 {
				reached[step] = append(reached[step], stepJob{Workload: w.name, Step: step, Hit: n})
			}
		}
	}
	cells := map[stepJob]string{}
	var jobs []stepJob
	for _, info := range durable.Steps() {
		if len(reached[info.Name]) == 0 {
			t.Errorf("no workload reaches the step %s (%s)", info.Name, info.Says)
		}
		for _, at := range reached[info.Name] {
			for _, hit := range slices.Compact([]int{soak(1, at.Hit), soak((at.Hit+1)/2, at.Hit), at.Hit}) {
				for _, how := range breakages {
					jobs = append(jobs, stepJob{Workload: at.Workload, Step: at.Step, Hit: hit, How: how})
				}
			}
		}
	}
	var mu sync.Mutex
	t.Run("broken", func(t *testing.T) {
		slots := make(chan struct{}, max(2, runtime.NumCPU()))
		for _, j := range jobs {
			t.Run(fmt.Sprintf("%s %d, %s, %s", j.Step, j.Hit, j.How, j.Workload), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				cell := prepared[j.Workload].broken(t, j)
				mu.Lock()
				defer mu.Unlock()
				cells[j] = cell
			})
		}
	})
	printSteps(t, jobs, cells)
}

// printSteps prints the table.
func printSteps(t *testing.T, jobs []stepJob, cells map[stepJob]string) {
	say(t, "steps: %-18s %-17s %3s  %-22s %-22s %-22s %-22s", "step", "workload", "hit", breakages[0], breakages[1], breakages[2],
		breakages[3])
	failed := 0
	for i := 0; i < len(jobs); i += len(breakages) {
		row := make([]any, len(breakages))
		for k := range row {
			cell, ok := cells[jobs[i+k]]
			if !ok {
				cell = "FAILED"
				failed++
			}
			row[k] = cell
		}
		say(t, "steps: %-18s %-17s %3d  %-22s %-22s %-22s %-22s",
			append([]any{jobs[i].Step, jobs[i].Workload, jobs[i].Hit}, row...)...)
	}
	say(t, "steps: %d registered, %d faults made, acknowledged things lost 0, failed %d", len(durable.Steps()), len(jobs), failed)
}

// prepared is the directory that a workload finds, and what was acknowledged in it.
type prepared struct {
	workload workload
	dir      string
	said     []fact
}

func prepareWorkload(t *testing.T, w workload) *prepared {
	t.Helper()
	p := &prepared{workload: w, dir: t.TempDir()}
	var r report
	w.prepare(t, p.dir, &r)
	p.said = r.kept
	return p
}

// broken breaks a step in a copy of the directory, checks what is left, and says how the program took it.
func (p *prepared) broken(t *testing.T, j stepJob) string {
	j.Dir = t.TempDir()
	said, err := p.child(t, j)
	crash := strings.HasPrefix(j.How, "crash")
	switch died := err != nil; {
	case died != crash:
		t.Fatalf("the process ended with %v", err)
	case !slices.ContainsFunc(said, func(f fact) bool { return f.Kind == "broke" }):
		t.Fatal("the step was not reached")
	}
	facts := append(slices.Clone(p.said), said...)
	if _, err := runStepJob(t, stepJob{Workload: j.Workload, Dir: j.Dir, How: howCheck}, facts); err != nil {
		t.Fatal(err)
	}
	if crash {
		return "recovered"
	}
	for _, f := range said {
		if f.Kind == "saw" {
			return f.Name
		}
	}
	return "went on"
}

// child runs the workload in a copy of the directory.
func (p *prepared) child(t *testing.T, j stepJob) (said []fact, err error) {
	t.Helper()
	if j.Dir == "" {
		j.Dir = t.TempDir()
	}
	if err := copyDirectory(j.Dir, p.dir); err != nil {
		t.Fatal(err)
	}
	return runStepJob(t, j, nil)
}

// runStepJob does a job in a process of its own: no other test's fork holds its locks. It returns what the process
// reported, and an error if it was killed.
func runStepJob(t *testing.T, j stepJob, facts []fact) (said []fact, err error) {
	t.Helper()
	job, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDurableSteps$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), stepJobVar+"="+string(job))
	told, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = bytes.NewReader(told)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.ExtraFiles = []*os.File{out}
	var noise bytes.Buffer
	cmd.Stdout, cmd.Stderr = &noise, &noise
	err = cmd.Start()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var f fact
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		said = append(said, f)
	}
	switch err := cmd.Wait(); {
	case err == nil && (len(said) == 0 || said[len(said)-1].Kind != "end"):
		t.Fatalf("the process ended too early:\n%.3000s", noise.Bytes())
	case err != nil && cmd.ProcessState.ExitCode() != -1: // -1: killed
		t.Fatalf("%s: %v\n%.3000s", j.How, err, noise.Bytes())
	case err != nil:
		return said, err
	}
	return said, nil
}

// stepChild is the process in which a step is broken.
func stepChild(t *testing.T, text string) {
	var j stepJob
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		t.Fatal(err)
	}
	r := &report{out: os.NewFile(3, "facts")}
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == j.Workload })
	if j.How == howCheck {
		var said []fact
		if err := json.NewDecoder(os.Stdin).Decode(&said); err != nil {
			t.Fatal(err)
		}
		workloads[i].check(t, j.Dir, said)
		r.say(fact{Kind: "end"})
		return
	}
	hits := 0
	var mu sync.Mutex
	restore := durable.Intercept(func(name string, run func() error) error {
		if j.How == "" {
			r.say(fact{Kind: "step", Name: name})
			return run()
		}
		mu.Lock()
		if name == j.Step {
			hits++
		}
		hit := name == j.Step && hits == j.Hit
		mu.Unlock()
		if !hit {
			return run()
		}
		r.say(fact{Kind: "broke", Name: name})
		return breakStep(j.How, run)
	})
	defer restore()
	workloads[i].run(t, j.Dir, r)
	r.say(fact{Kind: "end"})
}

// breakStep does to a step what how says.
func breakStep(how string, run func() error) error {
	switch how {
	case breakages[1]:
		return errors.Join(errBroken, run())
	case breakages[2]:
		die()
	case breakages[3]:
		_ = run()
		die()
	}
	return errBroken
}

// die ends the process as kill -9 does.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	time.Sleep(time.Minute)
}

func prepareNothing(*testing.T, string, *report) {}

// child of a directory that a workload uses.
func stepPath(dir string, elem ...string) string {
	return filepath.Join(append([]string{dir}, elem...)...)
}
