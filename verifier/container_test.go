package verifier

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"testing"
	"time"
)

func packed(t testing.TB, files ...File) []byte {
	t.Helper()
	b, err := Pack(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestContainerRoundTrip(t *testing.T) {
	files := []File{{"README.txt", []byte("read me\n")}, {"a/empty", nil}, {"a/x.json", []byte("{}")}, {"b", bytes.Repeat([]byte{7}, 4096)}}
	data := packed(t, files...)
	if again := packed(t, files...); !bytes.Equal(data, again) {
		t.Fatal("two packings of the same files differ")
	}
	got, err := Unpack(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(files) {
		t.Fatalf("%d files, want %d", len(got), len(files))
	}
	for i := range got {
		if got[i].Path != files[i].Path || !bytes.Equal(got[i].Data, files[i].Data) {
			t.Errorf("file %d differs", i)
		}
	}
	// Any other reader must see the same.
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range r.File {
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(rc)
		if err != nil || f.Name != files[i].Path || !bytes.Equal(body, files[i].Data) {
			t.Errorf("archive/zip reads %q differently: %v", f.Name, err)
		}
	}
	if empty := packed(t); len(empty) != endLen {
		t.Errorf("empty container has %d octets", len(empty))
	}
}

func TestContainerEveryOctetMatters(t *testing.T) {
	data := packed(t, File{"a.json", []byte("{}")}, File{"dir/b.cose", []byte("body of b")})
	for i := range data {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(data)
			bad[i] ^= bit
			if _, err := Unpack(bad); !errors.Is(err, ErrContainer) {
				t.Fatalf("octet %d flipped by %#x: error %v", i, bit, err)
			}
		}
	}
	for n := range data {
		if _, err := Unpack(data[:n]); !errors.Is(err, ErrContainer) {
			t.Fatalf("cut to %d octets: error %v", n, err)
		}
	}
}

func TestContainerRefusesForeignZips(t *testing.T) {
	write := func(add func(w *zip.Writer)) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		add(w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	member := func(h zip.FileHeader) func(w *zip.Writer) {
		return func(w *zip.Writer) {
			f, err := w.CreateHeader(&h)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	good := packed(t, File{"a", []byte("x")})
	cases := map[string][]byte{
		"compressed":      write(member(zip.FileHeader{Name: "a", Method: zip.Deflate})),
		"descriptor":      write(member(zip.FileHeader{Name: "a"})),
		"time":            write(member(zip.FileHeader{Name: "a", Modified: time.Unix(1_800_000_000, 0)})),
		"directory entry": write(func(w *zip.Writer) { _, _ = w.Create("d/") }),
		"archive comment": write(func(w *zip.Writer) { _ = w.SetComment("hello") }),
		"prefix":          append([]byte("#!/bin/sh\n"), good...),
		"suffix":          append(bytes.Clone(good), 0),
		"twice":           append(bytes.Clone(good), good...),
		"not a zip":       []byte("mission evidence"),
		"empty":           nil,
	}
	for name, data := range cases {
		if _, err := Unpack(data); !errors.Is(err, ErrContainer) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestContainerRefusesHostileNames(t *testing.T) {
	for _, path := range []string{
		"", "/etc/passwd", "../a", "a/../b", "a//b", "a/", ".hidden", "a/.git", `a\b`, "C:a", "a b", "a\x00", "ä", "-rf",
		"a/" + string(bytes.Repeat([]byte("x"), maxPathBytes)),
	} {
		if _, err := Pack([]File{{path, nil}}); !errors.Is(err, ErrContainer) {
			t.Errorf("Pack accepts the path %q", path)
		}
		// The same name in a container whose headers are otherwise consistent.
		m := member{path: path}
		data := m.appendLocal(nil)
		if _, err := Unpack(append(data, directory(len(data), []member{m})...)); !errors.Is(err, ErrContainer) {
			t.Errorf("Unpack accepts the path %q", path)
		}
	}
	for _, pair := range [][2]string{{"a", "a"}, {"b", "a"}, {"A", "a"}} {
		if _, err := Pack([]File{{pair[0], nil}, {pair[1], nil}}); !errors.Is(err, ErrContainer) {
			t.Errorf("Pack accepts %q", pair)
		}
		m0 := member{path: pair[0]}
		m1 := member{path: pair[1], offset: uint32(localHeaderLen + len(pair[0]))}
		data := m1.appendLocal(m0.appendLocal(nil))
		if _, err := Unpack(append(data, directory(len(data), []member{m0, m1})...)); !errors.Is(err, ErrContainer) {
			t.Errorf("Unpack accepts %q", pair)
		}
	}
}

func TestContainerLimits(t *testing.T) {
	if _, err := Pack([]File{{"a", make([]byte, MaxFileBytes+1)}}); !errors.Is(err, ErrContainer) {
		t.Errorf("oversize file: %v", err)
	}
	// A header that claims four gigabytes must not make the reader allocate or slice beyond the input.
	m := member{path: "a", size: 1<<32 - 1}
	if _, err := Unpack(m.appendLocal(nil)); !errors.Is(err, ErrContainer) {
		t.Errorf("claimed size: %v", err)
	}
	if _, err := Unpack(make([]byte, MaxContainerBytes+1)); !errors.Is(err, ErrContainer) {
		t.Errorf("oversize container: %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(packed(f))
	f.Add(packed(f, File{"a", []byte("x")}))
	f.Add(packed(f, File{"README.txt", []byte("x")}, File{"a/b.json", []byte("{}")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := Unpack(data)
		if err != nil {
			return
		}
		again, err := Pack(files)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted %d octets that Pack would not write: %v", len(data), err)
		}
	})
}
