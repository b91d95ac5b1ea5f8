package docs_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// codes lists the values of the constants Code… in the source below ledger, by whether they are findings of fsck.
func codes(t *testing.T) (latches, findings []string) {
	t.Helper()
	err := filepath.WalkDir("../ledger", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Code") {
				return true
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				code, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(path, "sequencer/fsck.go") {
					findings = append(findings, code)
				} else {
					latches = append(latches, code)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return latches, findings
}

// TestRunbooks: every reason code of a latch has a section with its name in the heading, every finding a row, and no
// section is about a code that does not exist.
func TestRunbooks(t *testing.T) {
	text, err := os.ReadFile("operations.md")
	if err != nil {
		t.Fatal(err)
	}
	latches, findings := codes(t)
	if len(latches) < 20 || len(findings) < 8 {
		t.Fatalf("only %d codes of latches and %d of findings", len(latches), len(findings))
	}
	var written []string
	for _, heading := range regexp.MustCompile("(?m)^### (`.*)$").FindAllStringSubmatch(string(text), -1) {
		for _, code := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(heading[1], -1) {
			written = append(written, code[1])
		}
	}
	for _, code := range latches {
		if !slices.Contains(written, code) {
			t.Errorf("no runbook for %s", code)
		}
	}
	for _, code := range written {
		if !slices.Contains(latches, code) {
			t.Errorf("a runbook for %s, which no latch has", code)
		}
	}
	_, table, _ := strings.Cut(string(text), "## Findings of `mas fsck`")
	for _, code := range findings {
		if !strings.Contains(table, "`"+code+"`") {
			t.Errorf("no row for the finding %s", code)
		}
	}
}

// TestOperations executes the commands of operations.md with the real programs, in one empty directory.
func TestOperations(t *testing.T) {
	text, err := os.ReadFile("operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -euo pipefail\nset -m\n")
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		script.WriteString(m[1])
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	commands := strings.ReplaceAll(script.String(), "127.0.0.1:8420", l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-o", bin, "./cmd/mas", "./cmd/masctl")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", commands)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(cmd.Dir, "mas.log"))
		t.Fatalf("the operations fail: %v\n%s\nserver log:\n%s", err, out, log)
	}
	for _, want := range []string{"backup of the log", "backup of the keys", "the server is running", "clean",
		"every known head is reached", "awaiting_second_administrator", "write:log_frozen", `"status":"frozen"`,
		`"status":"active"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the operations do not print %q:\n%s", want, out)
		}
	}
}
