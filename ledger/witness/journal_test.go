package witness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger/durable"
)

var stepTest = durable.Register("witness.test", "a record of a test is kept")

func read(path string) (all []record, err error) {
	j, err := openJournal(path, stepTest, func(r record) error { all = append(all, r); return nil })
	if err != nil {
		return nil, err
	}
	return all, j.close()
}

// filled writes records and returns the journal's octets and the offsets of its frames.
func filled(t *testing.T, path string) (data []byte, offsets []int64) {
	t.Helper()
	j, err := openJournal(path, stepTest, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		offsets = append(offsets, j.size)
		if err := j.append(record{"kind", strings.Repeat(fmt.Sprint("text ", i, " "), 60) + "\n"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return data, offsets
}

// TestTornTail: what a crash can leave of the last frame is cut off, and nothing else is lost.
func TestTornTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	data, offsets := filled(t, path)
	last := int(offsets[3])
	check := func(what string, left []byte, want int) {
		t.Helper()
		if err := os.WriteFile(path, left, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := read(path)
		if err != nil || len(all) != want {
			t.Errorf("%s: %d records, %v", what, len(all), err)
		}
	}
	for n := last; n < len(data); n++ {
		check(fmt.Sprint("cut at ", n), data[:n], 3)
	}
	for from := last; from < len(data); from = (from/sector + 1) * sector { // a sector that was not written
		left := bytes.Clone(data)
		clear(left[from:min((from/sector+1)*sector, len(left))])
		check(fmt.Sprint("zeros at ", from), left, 3)
	}
	left := bytes.Clone(data)
	clear(left[last:])
	check("all zeros", left, 3)
	check("zeros behind", append(bytes.Clone(data), make([]byte, 2000)...), 4)
	check("whole", data, 4)
	if all, err := read(path); err != nil || len(all) != 4 || all[3].kind != "kind" {
		t.Errorf("%v %v", all, err)
	}
}

// TestDamagedJournal: every flipped bit in an acknowledged record is refused, the last record included.
func TestDamagedJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	data, offsets := filled(t, path)
	for i := 0; i < len(data); i++ {
		if in := (i - int(offsets[i/int(offsets[1])])); in > 2*frameHead {
			i = min(i+40, len(data)-1) // of the texts a sample
		}
		for bit := range 8 {
			if i%8 != bit && i >= frameHead && i < int(offsets[3]) {
				continue
			}
			left := bytes.Clone(data)
			left[i] ^= 1 << bit
			if err := os.WriteFile(path, left, 0o600); err != nil {
				t.Fatal(err)
			}
			if all, err := read(path); !errors.Is(err, ErrJournal) {
				t.Fatalf("octet %d, bit %d: %d records, %v", i, bit, len(all), err)
			}
		}
	}
	for i, from := range offsets[:3] { // a sector or a frame that is lost in the middle
		left := bytes.Clone(data)
		clear(left[from:offsets[i+1]])
		if err := os.WriteFile(path, left, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := read(path); !errors.Is(err, ErrJournal) {
			t.Errorf("frame %d zeroed: %v", i, err)
		}
	}
	if err := os.WriteFile(path, []byte("not a journal at all, but long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(path); !errors.Is(err, ErrJournal) {
		t.Errorf("another file: %v", err)
	}
}

// TestCut: the unfinished frame is gone before anything is appended, or the journal does not open.
func TestCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	data, _ := filled(t, path)
	if err := os.WriteFile(path, data[:len(data)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	restore := durable.Intercept(func(name string, run func() error) error {
		if name == "witness.cut" {
			return errors.New("disk")
		}
		return run()
	})
	_, err := read(path)
	restore()
	if err == nil {
		t.Error("opened although the end is not clean")
	}
	j, err := openJournal(path, stepTest, func(record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.append(record{"kind", "new\n"}), j.close()); err != nil {
		t.Fatal(err)
	}
	if all, err := read(path); err != nil || len(all) != 4 || all[3].text != "new\n" {
		t.Errorf("%v, %v", all, err)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(record{"seen", "a\nb\n"}.frame())
	f.Add(append(record{"seen", "a\n"}.frame(), record{"seen", "b\n"}.frame()[:9]...))
	f.Add(make([]byte, 600))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := read(path)
		if err != nil {
			if !errors.Is(err, ErrJournal) {
				t.Fatal(err)
			}
			return
		}
		again, err := read(path)
		if err != nil || len(again) != len(first) {
			t.Fatalf("%d records, then %d, %v", len(first), len(again), err)
		}
	})
}
