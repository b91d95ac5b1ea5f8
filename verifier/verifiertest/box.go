package verifiertest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

// A Box is an opened bundle that a test changes and closes again, as somebody could who holds no key: the container is
// written anew and the manifest repaired.
type Box struct {
	testing.TB
	Files map[string][]byte // by path
}

// OpenBox opens a bundle.
func OpenBox(t testing.TB, data []byte) *Box {
	t.Helper()
	files, err := verifier.Unpack(data)
	if err != nil {
		t.Fatal(err)
	}
	b := &Box{t, map[string][]byte{}}
	for _, f := range files {
		b.Files[f.Path] = f.Data
	}
	return b
}

// Clone returns an independent copy.
func (b *Box) Clone() *Box { return &Box{b.TB, maps.Clone(b.Files)} }

// Manifest reads the manifest.
func (b *Box) Manifest() *verifier.Manifest {
	b.Helper()
	m, err := verifier.ParseManifest(b.Files["manifest.json"])
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// Close repairs the manifest and packs.
func (b *Box) Close(edits ...func(*verifier.Manifest)) []byte {
	b.Helper()
	m := b.Manifest()
	old := m.Files
	m.Files, m.Counts = nil, verifier.Counts{Gaps: int64(len(m.Gaps)), Erased: int64(len(m.Erased))}
	for _, path := range slices.Sorted(maps.Keys(b.Files)) {
		if path == "manifest.json" {
			continue
		}
		info := verifier.FileInfo{Path: path, MediaType: "application/octet-stream", Role: "record"}
		if strings.HasPrefix(path, "statements/") {
			info.Role = "statement"
		}
		if i := slices.IndexFunc(old, func(f verifier.FileInfo) bool { return f.Path == path }); i >= 0 {
			info = old[i]
		}
		sum := sha256.Sum256(b.Files[path])
		info.SHA256, info.Size = hex.EncodeToString(sum[:]), int64(len(b.Files[path]))
		m.Files = append(m.Files, info)
		switch info.Role {
		case "record":
			m.Counts.Records++
		case "statement":
			m.Counts.Statements++
		}
	}
	for _, edit := range edits {
		edit(m)
	}
	text, err := mission.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	b.Files["manifest.json"] = text
	return b.Pack()
}

// Pack writes the files as they are.
func (b *Box) Pack() []byte {
	b.Helper()
	var files []verifier.File
	for _, path := range slices.Sorted(maps.Keys(b.Files)) {
		files = append(files, verifier.File{Path: path, Data: b.Files[path]})
	}
	data, err := verifier.Pack(files)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// Find returns the path of the statement of a content type, the nth in log order.
func (b *Box) Find(contentType string, n int) string {
	b.Helper()
	for _, path := range slices.Sorted(maps.Keys(b.Files)) {
		if strings.HasPrefix(path, "statements/") && b.Statement(path).ContentType == contentType {
			if n == 0 {
				return path
			}
			n--
		}
	}
	b.Fatalf("no statement of %s", contentType)
	return ""
}

// Statement parses the statement at a path.
func (b *Box) Statement(path string) *ledger.Statement {
	b.Helper()
	raw, _, err := ledger.DetachReceipts(b.Files[path])
	if err != nil {
		b.Fatal(err)
	}
	s, err := ledger.ParseStatement(raw)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// Record returns the path of the body that a statement commits to.
func (b *Box) Record(statement string) string {
	b.Helper()
	prefix := "records/" + b.Statement(statement).Digest.String()
	for path := range b.Files {
		if strings.HasPrefix(path, prefix) {
			return path
		}
	}
	b.Fatal("no record")
	return ""
}

// Replace changes the body of the first statement of a content type.
func (b *Box) Replace(contentType, from, to string) *Box {
	b.Helper()
	path := b.Record(b.Find(contentType, 0))
	b.Files[path] = bytes.Replace(b.Files[path], []byte(from), []byte(to), 1)
	return b
}

// Drop removes the nth statement of a content type with its body.
func (b *Box) Drop(contentType string, n int) *Box {
	b.Helper()
	path := b.Find(contentType, n)
	delete(b.Files, b.Record(path))
	delete(b.Files, path)
	return b
}
