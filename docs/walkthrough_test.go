package docs_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWalkthrough executes the commands of walkthrough.md with the real programs, in one empty directory.
func TestWalkthrough(t *testing.T) {
	text, err := os.ReadFile("walkthrough.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -euo pipefail\nset -m\n")
	blocks := 0
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		script.WriteString(m[1])
		blocks++
	}
	if blocks < 6 {
		t.Fatalf("the walkthrough has only %d blocks of commands", blocks)
	}
	// The port is the only thing that a test has to choose itself.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	commands := strings.ReplaceAll(script.String(), "127.0.0.1:8420", l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	bin := t.TempDir()
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-o", bin, "./cmd/mas", "./cmd/masctl", "./cmd/masverify")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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
		t.Fatalf("the walkthrough fails: %v\n%s\nserver log:\n%s", err, out, log)
	}
	for _, want := range []string{"submission_id", "May do invoices.read", `"state":"active"`, `"state":"revoked"`,
		"difference 0", "conclusion         ok", "not claimed"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the walkthrough does not print %q:\n%s", want, out)
		}
	}
}

// TestWalkthroughNamesFiles: the files that the walkthrough follows are there.
func TestWalkthroughNamesFiles(t *testing.T) {
	text, err := os.ReadFile("walkthrough.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:cmd|mission|ledger|federation|verifier|docs)/[a-z0-9_/]+\\.go)`").
		FindAllStringSubmatch(string(text), -1)
	if len(named) < 25 {
		t.Fatalf("only %d files are named", len(named))
	}
	for _, m := range named {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
}
