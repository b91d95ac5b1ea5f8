package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mission-authority/mas/cmd/internal/domain"
)

// A process is one actor of the demo that runs on its own.
type process struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	err  error
}

// start runs the program with its diagnostics in a file of the story's directory.
func (s *story) start(ctx context.Context, name string, stdout *os.File, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, s.exe, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	cmd.Stdout, cmd.Stderr = log, log
	if stdout != nil {
		cmd.Stdout = stdout
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		p.err = errors.Join(cmd.Wait(), log.Close())
		close(p.done)
	}()
	s.processes = append(s.processes, p)
	return p, nil
}

// stop ends the process with a signal and waits for it.
func (p *process) stop(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return p.err
}

// serve starts a domain and waits until it is ready.
func (s *story) serve(ctx context.Context, side *actor) error {
	p, err := s.start(ctx, side.name, nil, "dev", "--dir", side.dir, "--listen", side.listen)
	if err != nil {
		return err
	}
	side.process = p
	return until(ctx, 20*time.Second, side.name+" to be ready", func() (bool, error) {
		select {
		case <-p.done:
			text, _ := os.ReadFile(p.log.Name())
			return false, fmt.Errorf("%s ended: %w\n%s", side.name, p.err, text)
		default:
		}
		side.dev, err = domain.ReadDev(side.dir)
		return err == nil, nil
	})
}

// rely starts the relying party and returns what it reports.
func (s *story) rely(ctx context.Context, args ...string) (<-chan reliance, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = s.start(ctx, "relying-party", w, append([]string{"demo", "relying-party"}, args...)...)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	reports := make(chan reliance, 64)
	go func() {
		defer close(reports)
		defer r.Close()
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var report reliance
			if json.Unmarshal(lines.Bytes(), &report) == nil {
				reports <- report
			}
		}
	}()
	return reports, nil
}

// until polls ready every 25 ms.
func until(ctx context.Context, patience time.Duration, what string, ready func() (bool, error)) error {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return fmt.Errorf("waited %s for %s", patience, what)
}
