package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

// The power cut: a machine in an emulator writes to its disk and says over its serial line what was acknowledged. The
// emulator is killed: what the machine's system still held in memory is gone, as when the power fails. Its disk is then
// mounted and held against what was heard, and the machine boots again from it.
//
// The machine is a Debian kernel and one file, /init: this test binary, which is the first and only process.

const (
	// powerVar is set in the environment of /init by the kernel's command line.
	powerVar     = "MAS_TEST_POWER"
	powerMemory  = "768"
	powerDisk    = 768 << 20
	powerWriters = 4
	// powerHeard acknowledgements at least are heard before a kill, but for kills in the recovery.
	powerHeard = 15
	powerBoot  = 10 * time.Minute
)

// TestPowerCut cuts the power of a virtual machine again and again while it commits: nothing that was acknowledged is
// lost. The same harness over a build without the sync reports losses. `make power` runs it; it needs root, an emulator
// and a Debian kernel.
func TestPowerCut(t *testing.T) {
	if os.Getenv("POWER") == "" {
		t.Skip("make power runs it")
	}
	kills := 20
	m := newMachine(t, "")
	inRecovery := 0
	for range kills {
		if m.life(t) {
			inRecovery++
		}
		m.settle(t)
		if t.Failed() {
			return
		}
		t.Logf("%d acknowledged so far", m.count(""))
	}
	say(t, "power: kills %d (%d of them in recovery), acknowledged %d (%d entries, %d stops, %d erasures), lost %d", kills,
		inRecovery, m.count(""), m.count("entry"), m.count("stop"), m.count("erased"), m.lost(t))
	broken := newMachine(t, "mas_nosync")
	lost := 0
	for range 2 {
		broken.life(t)
		lost += broken.lost(t)
		if lost > 0 {
			break
		}
	}
	if lost == 0 {
		t.Error("a build without the sync loses nothing: the harness sees nothing")
	}
	say(t, "power: without the sync: acknowledged %d, lost %d", broken.count(""), lost)
}

// A machine is a virtual machine with its disk, and what was heard of it.
type machine struct {
	image, kernel, initrd string
	rng                   *rand.Rand
	said                  []fact
}

func newMachine(t *testing.T, tags string) *machine {
	t.Helper()
	release := debianKernel(t)
	dir := t.TempDir()
	m := &machine{image: filepath.Join(dir, "disk"), kernel: "/boot/vmlinuz-" + release,
		initrd: filepath.Join(dir, "initrd"), rng: rand.New(rand.NewPCG(rand.Uint64(), 0))}
	guest := filepath.Join(dir, "init")
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-tags", "nomsgpack,"+tags, "-o", guest, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	mustRun(t, build)
	writeInitrd(t, m.initrd, guest, modulesOf(t, release, "virtio_pci", "virtio_blk", "crc32c_generic", "ext4"))
	f, err := os.Create(m.image)
	if err == nil {
		err = errors.Join(f.Truncate(powerDisk), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, exec.Command("mkfs.ext4", "-q", "-F", m.image))
	m.mounted(t, func(disk string) { // the log begins before anything is broken
		var r report
		prepareLog(t, disk, &r)
		m.said = r.kept
	})
	return m
}

func mustRun(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// debianKernel returns the release of a kernel with its modules.
func debianKernel(t *testing.T) string {
	t.Helper()
	images, _ := filepath.Glob("/boot/vmlinuz-*")
	for _, path := range slices.Backward(images) {
		release := strings.TrimPrefix(filepath.Base(path), "vmlinuz-")
		if _, err := os.Stat("/lib/modules/" + release + "/modules.dep"); err == nil {
			return release
		}
	}
	t.Fatal("MISSING linux-image-amd64: there is no kernel to boot")
	return ""
}

// modulesOf returns the files of kernel modules and of what they need, in the order in which they can be loaded.
func modulesOf(t *testing.T, release string, names ...string) (paths []string) {
	t.Helper()
	root := "/lib/modules/" + release + "/"
	text, err := os.ReadFile(root + "modules.dep")
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		file, deps, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[file] = strings.Fields(deps)
	}
	var add func(file string)
	add = func(file string) {
		for _, need := range needs[file] {
			add(need)
		}
		if !slices.Contains(paths, root+file) {
			paths = append(paths, root+file)
		}
	}
	for _, name := range names {
		for file := range needs {
			if filepath.Base(file) == name+".ko" {
				add(file)
			}
		}
	}
	return paths
}

// writeInitrd writes a cpio archive (newc) with /init and the modules, numbered.
func writeInitrd(t *testing.T, path, guest string, modules []string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	inode := 0
	put := func(name string, mode int, data []byte) {
		inode++
		fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", inode, mode, 0, 0, 1, 0, len(data),
			0, 0, 0, 0, len(name)+1, 0, name)
		w.Write(make([]byte, -(110+len(name)+1)&3))
		w.Write(data)
		w.Write(make([]byte, -len(data)&3))
	}
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, dir := range []string{"dev", "proc", "disk", "tmp", "modules"} {
		put(dir, 0o40755, nil)
	}
	for i, m := range modules {
		put(fmt.Sprintf("modules/%02d.ko", i), 0o100644, read(m))
	}
	put("init", 0o100755, read(guest))
	put("TRAILER!!!", 0, nil)
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// life boots the machine, listens to it, and cuts its power at some moment. It reports whether that was before the
// machine had recovered.
func (m *machine) life(t *testing.T) (inRecovery bool) {
	t.Helper()
	cmd := exec.Command("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", powerMemory,
		"-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio", "-serial", "file:"+m.image+".log", "-kernel", m.kernel, "-initrd", m.initrd,
		// What the machine does not flush stays in its own memory; this machine's disk need not be flushed for that.
		"-drive", "file="+m.image+",format=raw,if=none,id=disk,cache=unsafe", "-device", "virtio-blk-pci,drive=disk",
		"-append", "loglevel=4 panic=-1 console=ttyS1 "+powerVar+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var noise bytes.Buffer
	cmd.Stderr = &noise
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("MISSING qemu-system-x86: %v", err)
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	alarm := time.AfterFunc(powerBoot, kill)
	defer alarm.Stop()
	early, up, heard := m.rng.IntN(4) == 0, false, 0
	killed := false
	cut := func(after int) {
		if !killed {
			killed = true
			time.AfterFunc(time.Duration(m.rng.IntN(after))*time.Millisecond, kill)
		}
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	var other []string
	for lines.Scan() {
		var f fact
		text := strings.TrimSpace(lines.Text())
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			other = append(other, text) // cut off, or of the kernel
			continue
		}
		m.said = append(m.said, f)
		switch f.Kind {
		case "booted":
			if early {
				cut(1500)
			}
		case "up":
			up = true
		case "entry", "stop", "erased":
			if heard++; heard >= powerHeard {
				cut(2000)
			}
		case "saw":
			t.Errorf("the machine: %s: %s", f.Name, f.Text)
		}
	}
	kill()
	_ = cmd.Wait()
	if !killed && heard == 0 {
		console, _ := os.ReadFile(m.image + ".log")
		t.Fatalf("the machine ended by itself or hung:\n%s\n%s\n%s", strings.Join(other, "\n"), noise.Bytes(),
			console[max(0, len(console)-4000):])
	}
	return !up
}

func (m *machine) count(kind string) (n int) {
	for _, f := range m.said {
		if f.Kind == kind || kind == "" && (f.Kind == "entry" || f.Kind == "stop" || f.Kind == "erased") {
			n++
		}
	}
	return n
}

// mounted calls do with the disk of the machine, which does not run, mounted.
func (m *machine) mounted(t *testing.T, do func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	mustRun(t, exec.Command("mount", "-o", "loop", m.image, dir))
	defer mustRun(t, exec.Command("umount", dir))
	do(dir)
}

// copied calls do with a copy of the disk as the power cut left it. Mounting it replays the file system's journal, as
// the next boot does.
func (m *machine) copied(t *testing.T, do func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	m.mounted(t, func(disk string) {
		if err := copyDirectory(dir, disk); err != nil {
			t.Fatal(err)
		}
	})
	do(dir)
	os.RemoveAll(dir)
}

// settle holds the disk against everything that was heard.
func (m *machine) settle(t *testing.T) {
	t.Helper()
	m.copied(t, func(dir string) {
		if _, err := runStepJob(t, stepJob{Workload: "log", Dir: dir, How: howCheck}, m.said); err != nil {
			t.Error(err)
		}
	})
}

// lost counts acknowledged entries that are not on the disk; if the store does not open, that is all of them.
func (m *machine) lost(t *testing.T) (lost int) {
	t.Helper()
	m.copied(t, func(dir string) {
		s, err := badgerstore.Open(stepPath(dir, "store"), stepStore())
		if err != nil {
			lost = m.count("entry")
			return
		}
		defer s.Close()
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Close()
		for _, f := range m.said {
			if f.Kind != "entry" {
				continue
			}
			raw, err := snap.Get(ledger.EntryKey(f.N))
			if err == nil {
				var st *ledger.Statement
				if st, err = ledger.ParseStatement(raw); err == nil && string(st.Digest[:]) != string(f.Text) {
					err = ledger.ErrNotFound
				}
			}
			if err != nil {
				lost++
			}
		}
	})
	return lost
}

// powerInit is what the first process of the machine does before its test: it makes the machine usable.
func powerInit() {
	if os.Getenv(powerVar) == "" || os.Getpid() != 1 {
		return
	}
	os.Args = []string{"/init", "-test.run=^TestPowerGuest$", "-test.timeout=0"}
	check := func(err error) {
		if err != nil {
			fmt.Println(err)
			time.Sleep(time.Hour)
		}
	}
	check(unix.Mount("dev", "/dev", "devtmpfs", 0, ""))
	check(unix.Mount("proc", "/proc", "proc", 0, ""))
	modules, err := filepath.Glob("/modules/*.ko")
	check(err)
	for _, path := range modules {
		f, err := os.Open(path)
		check(err)
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
			check(fmt.Errorf("%s: %w", path, err))
		}
		f.Close()
	}
	for range 200 {
		if _, err = os.Stat("/dev/vda"); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	check(err)
	check(unix.Mount("/dev/vda", "/disk", "ext4", 0, ""))
}

func init() { prepareProcess = powerInit }

// TestPowerGuest is what the machine does: it commits, stops and erases until its power is cut.
func TestPowerGuest(t *testing.T) {
	if os.Getenv(powerVar) == "" {
		t.Skip("runs in a virtual machine only")
	}
	line, err := os.OpenFile("/dev/ttyS0", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &report{out: line}
	r.say(fact{Kind: "booted"})
	w := openWork(t, "/disk", r, stepStore())
	if w == nil {
		time.Sleep(time.Hour)
	}
	r.say(fact{Kind: "up"})
	go w.store.Run(t.Context())
	var busy sync.WaitGroup
	for i := range powerWriters {
		busy.Go(func() {
			own := *w
			for n := range 1 << 20 {
				own.commit()
				switch {
				case i == 0 && n%5 == 4:
					own.stop(fmt.Sprintf("s-%d-%d", time.Now().UnixNano(), n))
				case i == 1 && n%5 == 4:
					own.erase(rand.Uint64N(size(own.log)))
				}
			}
		})
	}
	busy.Wait()
}

func size(log *ledgertest.Log) uint64 {
	v, err := log.View()
	if err != nil {
		return 1
	}
	defer v.Close()
	return max(1, v.Head().Size)
}
