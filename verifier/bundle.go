package verifier

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// A Bundle is the evidence about one mission, or of some feeds, taken from one log at one size. Marshal writes it as a
// container (see Pack), whose name ends in ".mission-evidence.zip":
//
//	README.txt                              what this is
//	checkpoint.note                         the signed head that every receipt leads to
//	keys/trust.json                         what the exporter calls its keys: a hint, never an anchor
//	manifest.cose                           the exporter's logged statement of manifest.json with its receipt; optional
//	manifest.json                           the table of contents (Manifest)
//	proofs/consistency/<from>-<to>.json     ConsistencyProof, canonical JSON
//	proofs/feeds.cbor                       what the feed epoch among the statements says about the feeds of the query
//	records/<sha-256 of the body>.<ext>     evidence bodies as committed to
//	statements/<index>-<entry id>.cose      transparent statements: signed statement with one receipt
type Bundle struct {
	CreatedAt  time.Time
	Exporter   string // issuer of the log
	Query      Query
	Head       ledger.Checkpoint
	Checkpoint []byte // signed note of Head
	VKeys      []string
	Entries    []BundleEntry
	Records    []BundleRecord
	Proofs     []ConsistencyProof
	Feeds      []byte // ledger.MapProof for the subjects of the query, under the feed epoch among the entries; may be nil
	Hint       []byte // trust document of the exporter; nil to leave it out
	Gaps       []Gap
	Erased     []Erasure
}

// A BundleEntry is a logged statement with its receipt for the tree of the bundle's head.
type BundleEntry struct {
	Index       uint64
	Transparent []byte
}

// A BundleRecord is an evidence body.
type BundleRecord struct {
	ContentType string
	Body        []byte
}

// A ConsistencyProof shows that the tree of size From is a prefix of the tree of size To, in the form in which
// /v1/proofs/consistency answers. Hashes are lowercase hex.
type ConsistencyProof struct {
	Origin     string   `json:"origin"`
	From       uint64   `json:"from"`
	To         uint64   `json:"to"`
	RootFrom   string   `json:"root_from"`
	RootTo     string   `json:"root_to"`
	Path       []string `json:"consistency_path"`
	Checkpoint string   `json:"checkpoint,omitempty"` // signed note of size To, if the server added it
}

// ParseConsistencyProof reads a proof. It proves nothing before it has been verified between two trusted roots.
func ParseConsistencyProof(data []byte) (*ConsistencyProof, error) {
	var p ConsistencyProof
	if err := mission.Decode(data, &p); err != nil {
		return nil, fmt.Errorf("verifier: consistency proof: %w", err)
	}
	return &p, nil
}

// Hashes returns the path.
func (p *ConsistencyProof) Hashes() ([]ledger.Hash, error) { return parseHashes(p.Path) }

// Validate checks the spelling of the hashes and the order of the sizes.
func (p *ConsistencyProof) Validate() error {
	if p.From == 0 || p.From > p.To || len(p.Path) > ledger.MaxPath || ledger.CheckOrigin(p.Origin) != nil {
		return errors.New("verifier: malformed consistency proof")
	}
	_, err := parseHashes(append([]string{p.RootFrom, p.RootTo}, p.Path...))
	return err
}

func parseHashes(list []string) ([]ledger.Hash, error) {
	out := make([]ledger.Hash, 0, len(list))
	for _, s := range list {
		h, err := ledger.ParseEntryID(s) // 64 lowercase hex digits
		if err != nil {
			return nil, fmt.Errorf("verifier: hash: %w", err)
		}
		out = append(out, h)
	}
	return out, nil
}

// NewConsistencyProof spells a proof between two heads of a log.
func NewConsistencyProof(from, to ledger.Checkpoint, path []ledger.Hash) ConsistencyProof {
	p := ConsistencyProof{Origin: to.Origin, From: from.Size, To: to.Size, RootFrom: from.Root.String(),
		RootTo: to.Root.String(), Path: make([]string, 0, len(path))}
	for _, h := range path {
		p.Path = append(p.Path, h.String())
	}
	return p
}

// Roles of files in a manifest.
const (
	roleReadme     = "readme"
	roleCheckpoint = "checkpoint"
	roleHint       = "trust_hint"
	roleProof      = "consistency_proof"
	roleFeeds      = "feed_proof"
	roleRecord     = "record"
	roleStatement  = "statement"
)

// Paths of a container.
const (
	pathReadme     = "README.txt"
	pathCheckpoint = "checkpoint.note"
	pathHint       = "keys/trust.json"
	pathManifest   = "manifest.json"
	pathSigned     = "manifest.cose"
	pathFeeds      = "proofs/feeds.cbor"
	dirProofs      = "proofs/consistency/"
	dirRecords     = "records/"
	dirStatements  = "statements/"
)

const mediaStatement = "application/scitt-statement+cose"

const readme = `This is mission evidence: signed statements of a Mission Authority Service with receipts of its log, and the
records that the statements commit to.

Check it offline, with a trust document that you did not take from here:

    masverify bundle FILE --trust trust.json

keys/trust.json is what the exporter says its keys are. It is a hint and proves nothing.
manifest.json lists the files. manifest.cose, if it is there, is the exporter's signed and logged statement of it.
`

// ContentTypeManifest is the media type of a manifest, as the exporter's statement of it says.
const ContentTypeManifest = "application/mas-bundle-manifest+json"

// Marshal writes the bundle. The same bundle always gives the same octets; entries and records may come in any order.
func (b *Bundle) Marshal() ([]byte, error) { return b.MarshalSigned(nil) }

// MarshalSigned is Marshal with the exporter's statement of the manifest: sign is given the manifest and returns the
// transparent statement, or nil for none.
func (b *Bundle) MarshalSigned(sign func(manifest []byte) (transparent []byte, err error)) ([]byte, error) {
	var files []describedFile
	add := func(path, mediaType, role string, data []byte) {
		files = append(files, describedFile{File{path, data}, mediaType, role})
	}
	add(pathReadme, "text/plain", roleReadme, []byte(readme))
	add(pathCheckpoint, "text/plain", roleCheckpoint, b.Checkpoint)
	if b.Hint != nil {
		add(pathHint, "application/json", roleHint, b.Hint)
	}
	if b.Feeds != nil {
		add(pathFeeds, "application/cbor", roleFeeds, b.Feeds)
	}
	for _, p := range b.Proofs {
		data, err := mission.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("verifier: bundle: %w", err)
		}
		add(fmt.Sprintf("%s%d-%d.json", dirProofs, p.From, p.To), "application/json", roleProof, data)
	}
	for _, e := range b.Entries {
		statement, _, err := ledger.DetachReceipts(e.Transparent)
		if err != nil {
			return nil, fmt.Errorf("verifier: bundle: entry %d: %w", e.Index, err)
		}
		add(statementPath(e.Index, ledger.HashLeaf(statement)), mediaStatement, roleStatement, e.Transparent)
	}
	for _, r := range b.Records {
		add(recordPath(sha256.Sum256(r.Body), r.ContentType), r.ContentType, roleRecord, r.Body)
	}
	slices.SortFunc(files, func(x, y describedFile) int { return strings.Compare(x.Path, y.Path) })
	files = slices.CompactFunc(files, func(x, y describedFile) bool {
		return x.Path == y.Path && x.mediaType == y.mediaType && bytes.Equal(x.Data, y.Data)
	})
	manifest, err := b.manifest(files)
	if err != nil {
		return nil, err
	}
	out := make([]File, 0, len(files)+2)
	for _, f := range files {
		out = append(out, f.File)
	}
	out = append(out, File{pathManifest, manifest})
	if sign != nil {
		signed, err := sign(manifest)
		if err != nil {
			return nil, fmt.Errorf("verifier: bundle: signing the manifest: %w", err)
		}
		if signed != nil {
			out = append(out, File{pathSigned, signed})
		}
	}
	slices.SortFunc(out, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
	return Pack(out)
}

type describedFile struct {
	File
	mediaType, role string
}

func (b *Bundle) manifest(files []describedFile) ([]byte, error) {
	m := Manifest{
		Version:   ManifestVersion,
		CreatedAt: mission.FormatTime(b.CreatedAt),
		Exporter:  b.Exporter,
		Query:     Query{b.Query.Mission, sorted(b.Query.Subjects, strings.Compare)},
		Log:       Head{b.Head.Origin, append([]string{}, b.VKeys...), int64(b.Head.Size), b.Head.Root.String()},
		Gaps:      sorted(b.Gaps, func(x, y Gap) int { return strings.Compare(x.EntryID, y.EntryID) }),
		Erased:    sorted(b.Erased, func(x, y Erasure) int { return strings.Compare(x.EntryID, y.EntryID) }),
	}
	m.Counts = Counts{Gaps: int64(len(m.Gaps)), Erased: int64(len(m.Erased))}
	for _, f := range files {
		sum := sha256.Sum256(f.Data)
		m.Files = append(m.Files, FileInfo{f.Path, hex.EncodeToString(sum[:]), int64(len(f.Data)), f.mediaType, f.role})
		switch f.role {
		case roleStatement:
			m.Counts.Statements++
		case roleRecord:
			m.Counts.Records++
		}
	}
	data, err := mission.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("verifier: bundle: manifest: %w", err)
	}
	if _, err := ParseManifest(data); err != nil {
		return nil, err
	}
	return data, nil
}

func sorted[T any](list []T, compare func(x, y T) int) []T {
	return slices.SortedFunc(slices.Values(append([]T{}, list...)), compare)
}

func statementPath(index uint64, leaf ledger.Hash) string {
	return fmt.Sprintf("%s%010d-%s.cose", dirStatements, index, leaf)
}

// recordPath names a body by its digest; the extension is for people.
func recordPath(digest ledger.Hash, contentType string) string {
	ext := "bin"
	switch {
	case strings.HasSuffix(contentType, "+json"):
		ext = "json"
	case strings.HasSuffix(contentType, "+jwt"), strings.HasSuffix(contentType, "+jws"):
		ext = "jwt"
	case strings.HasSuffix(contentType, "+cbor"):
		ext = "cbor"
	}
	return dirRecords + digest.String() + "." + ext
}

// contents is an opened container.
type contents struct {
	manifest   *Manifest
	digest     ledger.Hash // of manifest.json
	signed     []byte      // the statement of it; nil if there is none
	checkpoint []byte
	hint       []byte
	feeds      []byte
	statements []file
	proofs     []file
	records    map[ledger.Hash]file // by the digest that the path names
}

type file struct {
	path string
	data []byte
}

// open reads a container and holds it against its manifest. A container without a readable manifest gives nil.
func open(data []byte, fs *Findings) *contents {
	files, err := Unpack(data)
	if err != nil {
		fs.add(Integrity, "container_malformed", "", "not an evidence container as this format defines it")
		return nil
	}
	byPath := make(map[string][]byte, len(files))
	for _, f := range files {
		byPath[f.Path] = f.Data
	}
	text, ok := byPath[pathManifest]
	if !ok {
		fs.add(Integrity, "manifest_missing", pathManifest, "the container has no manifest")
		return nil
	}
	m, err := ParseManifest(text)
	if err != nil {
		fs.add(Integrity, "manifest_malformed", pathManifest, "the manifest cannot be read")
		return nil
	}
	c := &contents{manifest: m, digest: sha256.Sum256(text), signed: byPath[pathSigned], records: map[ledger.Hash]file{}}
	listed := make(map[string]bool, len(m.Files))
	for _, info := range m.Files {
		listed[info.Path] = true
		body, ok := byPath[info.Path]
		if !ok {
			fs.add(Audit, "file_missing", info.Path, "the manifest lists a file that is not there")
			continue
		}
		if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != info.SHA256 || int64(len(body)) != info.Size {
			fs.add(Integrity, "file_changed", info.Path, "the file is not the one that the manifest lists")
		}
		c.take(info, file{info.Path, body}, fs)
	}
	for _, f := range files {
		if f.Path != pathManifest && f.Path != pathSigned && !listed[f.Path] {
			fs.add(Integrity, "file_unlisted", f.Path, "the manifest does not list the file")
		}
	}
	c.checkCounts(fs)
	return c
}

// take files one member by its role.
func (c *contents) take(info FileInfo, f file, fs *Findings) {
	switch {
	case info.Role == roleCheckpoint && f.path == pathCheckpoint:
		c.checkpoint = f.data
	case info.Role == roleHint && f.path == pathHint:
		c.hint = f.data
	case info.Role == roleFeeds && f.path == pathFeeds:
		c.feeds = f.data
	case info.Role == roleReadme && f.path == pathReadme:
	case info.Role == roleProof && strings.HasPrefix(f.path, dirProofs):
		c.proofs = append(c.proofs, f)
	case info.Role == roleStatement && strings.HasPrefix(f.path, dirStatements):
		c.statements = append(c.statements, f)
	case info.Role == roleRecord && strings.HasPrefix(f.path, dirRecords):
		name, _, _ := strings.Cut(strings.TrimPrefix(f.path, dirRecords), ".")
		digest, err := ledger.ParseEntryID(name)
		if err != nil {
			fs.add(Integrity, "file_misplaced", f.path, "a record is not named by a digest")
			return
		}
		if _, twice := c.records[digest]; twice {
			fs.add(Integrity, "record_twice", f.path, "two records have the same name")
			return
		}
		c.records[digest] = f
	default:
		fs.add(Integrity, "file_misplaced", f.path, "the path does not fit the role %.40q", info.Role)
	}
}

func (c *contents) checkCounts(fs *Findings) {
	want := Counts{Gaps: int64(len(c.manifest.Gaps)), Erased: int64(len(c.manifest.Erased))}
	for _, f := range c.manifest.Files {
		switch f.Role {
		case roleStatement:
			want.Statements++
		case roleRecord:
			want.Records++
		}
	}
	if want != c.manifest.Counts {
		fs.add(Integrity, "manifest_counts", pathManifest, "the counts of the manifest do not fit its lists")
	}
}

// BundleSubjects returns the feeds that a bundle means to hold, unchecked: what to collect from a mirror before the
// bundle is verified against it.
func BundleSubjects(data []byte) []string {
	c := open(data, &Findings{})
	if c == nil {
		return nil
	}
	return c.manifest.Query.Subjects
}
