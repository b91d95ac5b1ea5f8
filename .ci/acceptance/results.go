package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

const module = "github.com/mission-authority/mas"

// An event is a line of `go test -json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// results says what became of each test in the kept runs: package and test, then "pass", "fail" or "skip".
type results map[string]string

// counted is output that is shown although nothing failed: what the long tests counted, and what was missing.
var counted = regexp.MustCompile(`MISSING|_test\.go:[0-9]+: (crash|corruption|rollback|disk|sync|steps|power|model|` +
	`idle|soak|drill|strace|clock|scrub|follow)\b`)

// run runs go test with -json, shows packages, failures and counts, and keeps the events.
func run(name string, args []string) error {
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, resultsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	kept, err := os.Create(filepath.Join(dir, name+".json"))
	if err != nil {
		return err
	}
	defer kept.Close()
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	showErr := show(io.TeeReader(out, kept))
	return errors.Join(showErr, cmd.Wait(), kept.Close())
}

// show prints the lines of packages, and the output of what failed.
func show(r io.Reader) error {
	output := make(map[string][]string)
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Printf("%s", line)
			} else {
				e.show(output)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (e event) show(output map[string][]string) {
	key := e.Package + " " + e.Test
	switch {
	case e.Action == "output" && e.Test == "":
		if !strings.Contains(e.Output, "[no test files]") && e.Output != "PASS\n" {
			fmt.Print(e.Output)
		}
	case e.Action == "output":
		if counted.MatchString(e.Output) {
			fmt.Printf("  %s", e.Output)
		}
		output[key] = append(output[key], e.Output)
	case e.Action == "build-output":
		fmt.Print(e.Output)
	case e.Action == "fail" && e.Test != "":
		fmt.Print(strings.Join(output[key], ""))
	case e.Action == "pass" || e.Action == "skip":
		delete(output, key)
	}
}

// readResults reads every kept run. A test that failed or was skipped in one of them counts as that, unless the run
// with the name of short tests is the one that skipped it.
func readResults() (results, error) {
	files, err := filepath.Glob(filepath.Join(resultsDir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no results under %s: run make test", resultsDir)
	}
	out := make(results)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		err = out.read(f, strings.HasPrefix(filepath.Base(name), "race"))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return out, nil
}

// read adds one run. Skips of a short run say nothing: the tests ran in full in another.
func (r results) read(f io.Reader, short bool) error {
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if len(line) > 0 && json.Unmarshal(line, &e) == nil && e.Test != "" {
			top, _, _ := strings.Cut(e.Test, "/")
			key := e.Package + " " + top
			switch {
			case e.Action == "fail", e.Action == "skip" && !short:
				r[key] = e.Action
			case e.Action == "pass" && e.Test == top && r[key] == "":
				r[key] = e.Action
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// of reports what is wrong with the results of t.
func (r results) of(t namedTest) error {
	switch got := r[path.Join(module, t.dir)+" "+t.fn]; got {
	case "pass":
		return nil
	case "":
		return fmt.Errorf("%s did not run", t.name())
	default:
		return fmt.Errorf("%s: %s", t.name(), map[string]string{"fail": "failed", "skip": "was skipped"}[got])
	}
}

func repositoryRoot() (string, error) {
	out, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("not a git work tree: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
