package docs_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	maxSourceLines = 500 // of a source file; tests may be longer
	maxLineLength  = 120 // of prose and comments, in characters
)

// rootEntries are the only names that may stand at the root of the repository.
var rootEntries = []string{
	".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md",
	"cmd", "docs", "federation", "go.mod", "go.sum", "ledger", "mission", "schemas", "verifier",
}

// trackedFiles lists the files of the repository, relative to its root, and skips the test outside a work tree.
func trackedFiles(t *testing.T) (root string, files []string) {
	t.Helper()
	top, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Skip("not a git work tree: the list of tracked files is missing")
	}
	root = strings.TrimSpace(string(top))
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for f := range strings.SplitSeq(string(out), "\x00") {
		if f == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, f)); err == nil {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		t.Fatal("no tracked files")
	}
	return root, files
}

// TestRootStaysSmall: what a stranger sees first is the fixed list.
func TestRootStaysSmall(t *testing.T) {
	_, files := trackedFiles(t)
	for _, f := range files {
		top, _, _ := strings.Cut(f, "/")
		if !slices.Contains(rootEntries, top) {
			t.Errorf("%s: %q may not stand at the root", f, top)
		}
	}
}

// TestSizes: a source file is one noun or one verb, and prose fits on a screen.
func TestSizes(t *testing.T) {
	root, files := trackedFiles(t)
	for _, f := range files {
		isGo := strings.HasSuffix(f, ".go")
		isProse := strings.HasSuffix(f, ".md")
		if !isGo && !isProse || strings.Contains(f, "testdata/") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(data, []byte("\n")); isGo && !strings.HasSuffix(f, "_test.go") && n > maxSourceLines {
			t.Errorf("%s: %d lines, at most %d", f, n, maxSourceLines)
		}
		checkLineLengths(t, f, data, isGo)
	}
}

// checkLineLengths looks at prose only: comments of a Go file; in Markdown everything but tables, code blocks and
// lines that are one link.
func checkLineLengths(t *testing.T, name string, data []byte, isGo bool) {
	fenced := false
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "```") {
			fenced = !fenced
		}
		prose := strings.HasPrefix(trimmed, "//") && !strings.HasPrefix(trimmed, "//go:")
		if !isGo {
			prose = !fenced && !strings.HasPrefix(trimmed, "|") && strings.Contains(trimmed, " ")
		}
		if length := utf8.RuneCountInString(line); prose && length > maxLineLength {
			t.Errorf("%s:%d: %d characters, at most %d", name, n, length, maxLineLength)
		}
	}
	if err := lines.Err(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// machinePath matches paths of one particular machine; nothing tracked may depend on one.
var machinePath = regexp.MustCompile(`(^|[^\w.])/(home|root|Users)/\w`)

// TestNoMachinePaths: the repository names no directory of whoever wrote it.
func TestNoMachinePaths(t *testing.T) {
	root, files := trackedFiles(t)
	for _, f := range files {
		if strings.HasSuffix(f, ".sum") || f == "docs/house_test.go" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			t.Fatal(err)
		}
		if m := machinePath.Find(data); m != nil {
			t.Errorf("%s: names a path of one machine: %q", f, m)
		}
	}
}
