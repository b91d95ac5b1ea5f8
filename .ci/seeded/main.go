// Command seeded plants known bugs, one at a time, and checks that the test named beside each kills it.
//
// bugs.json lists them: a file, a passage that occurs exactly once in it, what to put in its place, and the package and
// test that must fail. The tree is never touched: the changed file reaches the compiler through -overlay. A bug whose
// passage is gone, whose build fails, or whose test passes is an error; so is a test that fails without the bug.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

type bug struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Old     string `json:"old"`
	New     string `json:"new"`
	Package string `json:"package"`
	Test    string `json:"test"`
}

func main() {
	list := flag.String("list", ".ci/seeded/bugs.json", "the bugs")
	only := flag.String("run", "", "plant only bugs whose name contains this")
	check := flag.Bool("check", false, "only check that every passage is still there, exactly once")
	flag.Parse()
	bugs, err := read(*list)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	if *check {
		if err := checkPassages(bugs); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("seeded bugs: %d listed, every passage is there once\n", len(bugs))
		return
	}
	dir, err := os.MkdirTemp("", "seeded")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	defer os.RemoveAll(dir)
	killed, failed, clean := 0, 0, map[string]error{}
	for _, b := range bugs {
		if !strings.Contains(b.Name, *only) {
			continue
		}
		key := b.Package + " " + b.Test
		if _, done := clean[key]; !done {
			_, clean[key] = test(b, "")
		}
		if err := clean[key]; err != nil {
			fmt.Printf("FAIL %-44s %s fails without the bug: %v\n", b.Name, b.Test, err)
			failed++
			continue
		}
		if err := plant(dir, b); err != nil {
			fmt.Printf("FAIL %-44s %v\n", b.Name, err)
			failed++
			continue
		}
		fmt.Printf("ok   %-44s killed by %s %s\n", b.Name, b.Package, b.Test)
		killed++
	}
	fmt.Printf("seeded bugs: %d killed, %d not\n", killed, failed)
	if failed > 0 {
		os.RemoveAll(dir)
		os.Exit(1)
	}
}

func read(path string) ([]bug, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var bugs []bug
	if err := json.Unmarshal(text, &bugs); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return bugs, nil
}

func checkPassages(bugs []bug) error {
	var all []error
	for _, b := range bugs {
		text, err := os.ReadFile(b.File)
		if err != nil {
			all = append(all, err)
		} else if n := strings.Count(string(text), b.Old); n != 1 {
			all = append(all, fmt.Errorf("%s: the passage occurs %d times in %s", b.Name, n, b.File))
		}
	}
	return errors.Join(all...)
}

// plant runs the bug's test with the bug in place and reports an error unless the test compiled, ran and failed.
func plant(dir string, b bug) error {
	text, err := os.ReadFile(b.File)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), b.Old); n != 1 {
		return fmt.Errorf("the passage occurs %d times in %s", n, b.File)
	}
	changed := filepath.Join(dir, filepath.Base(b.File))
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), b.Old, b.New, 1)), 0o600); err != nil {
		return err
	}
	abs, err := filepath.Abs(b.File)
	if err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{abs: changed}})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		return err
	}
	out, err := test(b, path)
	switch {
	case err == nil:
		return fmt.Errorf("survived %s", b.Test)
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return fmt.Errorf("does not build:\n%s", out)
	case !strings.Contains(out, "--- FAIL: ") && !strings.Contains(out, "panic:"):
		return fmt.Errorf("no test failed:\n%s", out)
	}
	return nil
}

// test runs the named test and refuses a run in which nothing ran.
func test(b bug, overlay string) (string, error) {
	args := []string{"test", "-count=1", "-timeout=120s", "-run", "^" + b.Test + "$", "-v"}
	if overlay != "" {
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.Command("go", append(args, b.Package)...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil && !strings.Contains(string(out), "--- PASS: ") {
		return string(out), fmt.Errorf("no test ran")
	}
	return string(out), err
}
