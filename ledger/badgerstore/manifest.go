package badgerstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// Kinds of backup.
const (
	KindLog  = "log"  // journal and emergency stops: everything but the keys of the bodies
	KindKeys = "keys" // the keys of the bodies, sealed under the root key
)

// ManifestName is the file that makes a directory a backup. It is written last.
const ManifestName = "MANIFEST"

const (
	manifestTitle   = "mas-backup v1"
	maxManifest     = 4 << 20
	maxManifestText = 1024
	sumSize         = 2 * sha256.Size
)

// A Manifest says what a backup holds. It is lines of text, each a name and its values:
//
//	mas-backup v1
//	kind log
//	origin <of the log>
//	made <RFC 3339, UTC>
//	expires <RFC 3339, UTC>                          keys only
//	frames <number of the last> <its hash, hex>      log only, as the next three
//	stops <number of the last frame>
//	tree <size> <root, hex>
//	checkpoint <base64 of the signed note>
//	file <SHA-256, hex> <octets> <path>              for each file, sorted by path
//	end <SHA-256 of all lines before, hex>
type Manifest struct {
	Kind       string
	Origin     string
	Made       time.Time
	Expires    time.Time // of keys: when the backup has to be destroyed, so that erased keys are gone
	Frames     uint64    // number of the last frame
	FrameHash  [32]byte
	Stops      uint64 // number of the last frame of the emergency-stop journal
	Size       uint64
	Root       ledger.Hash
	Checkpoint []byte // signed note for size and root; empty for an empty log
	Files      []ManifestFile
}

// A ManifestFile is a file of a backup.
type ManifestFile struct {
	Path string // below the backup, with slashes
	Size int64
	Sum  [32]byte
}

var (
	errManifest  = errors.New("badgerstore: malformed manifest")
	manifestPath = regexp.MustCompile(`^[a-z]+/[a-zA-Z0-9]+(\.[a-z]+)*$`)
)

// Marshal encodes the manifest.
func (m *Manifest) Marshal() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(manifestTitle)
	line("kind %s", m.Kind)
	line("origin %s", m.Origin)
	line("made %s", m.Made.UTC().Format(time.RFC3339))
	if m.Kind == KindKeys {
		line("expires %s", m.Expires.UTC().Format(time.RFC3339))
	} else {
		line("frames %d %x", m.Frames, m.FrameHash)
		line("stops %d", m.Stops)
		line("tree %d %s", m.Size, m.Root)
		line("checkpoint %s", base64.StdEncoding.EncodeToString(m.Checkpoint))
	}
	for _, f := range m.Files {
		line("file %x %d %s", f.Sum, f.Size, f.Path)
	}
	line("end %x", sha256.Sum256(b.Bytes()))
	return b.Bytes()
}

// ParseManifest is the strict inverse of Marshal.
func ParseManifest(text []byte) (*Manifest, error) {
	if len(text) > maxManifest {
		return nil, fmt.Errorf("%w: %d octets", errManifest, len(text))
	}
	p := manifestReader{rest: string(text)}
	m := new(Manifest)
	if title := p.line(); title != manifestTitle {
		return nil, fmt.Errorf("%w: it starts with %.40q", errManifest, title)
	}
	m.Kind = p.value("kind")
	m.Origin = p.value("origin")
	m.Made = p.time("made")
	switch m.Kind {
	case KindKeys:
		m.Expires = p.time("expires")
	case KindLog:
		m.Frames, m.FrameHash = p.numbered("frames")
		m.Stops = p.number(p.value("stops"))
		m.Size, m.Root = p.numbered("tree")
		var err error
		if m.Checkpoint, err = base64.StdEncoding.DecodeString(p.text("checkpoint", maxManifest)); err != nil {
			p.fail("checkpoint")
		}
	default:
		p.fail("kind " + m.Kind)
	}
	for p.err == nil && strings.HasPrefix(p.rest, "file ") {
		m.Files = append(m.Files, p.file())
	}
	p.value("end")
	// One encoding: whatever the reader was lenient about is found here, and the sum at the end too.
	if p.err == nil && (p.rest != "" || !bytes.Equal(m.Marshal(), text)) {
		p.fail("the sum, or the form of a line")
	}
	if p.err != nil {
		return nil, p.err
	}
	return m, nil
}

// A manifestReader reads lines; the first failure stays.
type manifestReader struct {
	rest string
	err  error
}

func (p *manifestReader) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %.80s", errManifest, what)
	}
}

func (p *manifestReader) line() string {
	line, rest, ok := strings.Cut(p.rest, "\n")
	if !ok {
		p.fail("it ends within a line")
	}
	p.rest = rest
	return line
}

func (p *manifestReader) text(name string, limit int) string {
	line := p.line()
	value, ok := strings.CutPrefix(line, name+" ")
	if !ok || len(value) > limit {
		p.fail("line " + name)
		return ""
	}
	return value
}

func (p *manifestReader) value(name string) string { return p.text(name, maxManifestText) }

func (p *manifestReader) number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		p.fail("a number")
	}
	return n
}

func (p *manifestReader) hash(text string) (h [32]byte) {
	b, err := hex.DecodeString(text)
	if err != nil || len(text) != sumSize {
		p.fail("a hash")
		return h
	}
	return [32]byte(b)
}

func (p *manifestReader) numbered(name string) (uint64, [32]byte) {
	number, sum, _ := strings.Cut(p.value(name), " ")
	return p.number(number), p.hash(sum)
}

func (p *manifestReader) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339, p.value(name))
	if err != nil {
		p.fail(name)
	}
	return t.UTC()
}

func (p *manifestReader) file() (f ManifestFile) {
	sum, rest, _ := strings.Cut(p.value("file"), " ")
	size, path, _ := strings.Cut(rest, " ")
	f.Sum, f.Size, f.Path = p.hash(sum), int64(p.number(size)), path
	if !manifestPath.MatchString(path) {
		p.fail("path " + strconv.Quote(path))
	}
	return f
}
