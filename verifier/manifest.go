package verifier

import (
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// ManifestVersion is the bundle format that this package reads and writes.
const ManifestVersion = 1

// Limits of a manifest.
const (
	maxManifestBytes = 16 << 20
	maxSubjects      = 256
)

// A Manifest is the table of contents of a bundle, manifest.json in canonical JSON. What it says about files is checked
// against them, and the rest (created_at, exporter, query) is the exporter's word: signed and logged if the bundle has
// a statement of it, reported as unsigned if not.
type Manifest struct {
	Version   int64      `json:"bundle_version"`
	CreatedAt string     `json:"created_at"` // YYYY-MM-DDTHH:MM:SSZ
	Exporter  string     `json:"exporter"`   // issuer whose log the evidence is from
	Query     Query      `json:"query"`
	Log       Head       `json:"log"`
	Files     []FileInfo `json:"files"` // every other file of the container, in path order
	Counts    Counts     `json:"counts"`
	Gaps      []Gap      `json:"gaps"`   // bodies that the exporter could not or may not include
	Erased    []Erasure  `json:"erased"` // bodies that were erased, with the entry that records it
}

// A Query says what was asked for.
type Query struct {
	// Mission is the id of the mission the bundle is about. Empty: a selection of feeds.
	Mission string `json:"mission,omitempty"`
	// Subjects are the feeds that the bundle means to contain completely, sorted. Statements with other subjects are
	// there because something cites them; nothing is claimed about their feeds.
	Subjects []string `json:"subjects"`
}

// A Head names the one tree that every receipt of the bundle is about.
type Head struct {
	Origin string   `json:"origin"`
	VKeys  []string `json:"vkeys"` // hints
	Size   int64    `json:"size"`
	Root   string   `json:"root"` // lowercase hex
}

// A FileInfo describes one file of the container.
type FileInfo struct {
	Path      string `json:"path"`
	SHA256    string `json:"sha256"` // lowercase hex
	Size      int64  `json:"size"`
	MediaType string `json:"media_type"`
	Role      string `json:"role"`
}

// Counts are totals that a reader can check at a glance.
type Counts struct {
	Statements int64 `json:"statements"`
	Records    int64 `json:"records"`
	Gaps       int64 `json:"gaps"`
	Erased     int64 `json:"erased"`
}

// A Gap names an entry whose body is missing, and why: "withheld" or "unavailable".
type Gap struct {
	EntryID string `json:"entry_id"`
	Reason  string `json:"reason"`
}

// An Erasure names an entry whose body was erased and the entry of the erasure record.
type Erasure struct {
	EntryID string `json:"entry_id"`
	Record  string `json:"record"`
}

var errManifest = errors.New("verifier: malformed manifest")

// ParseManifest reads manifest.json: canonical JSON, closed members, every field in its one spelling.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > maxManifestBytes {
		return nil, fmt.Errorf("%w: %d octets", errManifest, len(data))
	}
	canonical, err := mission.Canonical(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errManifest, err)
	}
	if string(canonical) != string(data) {
		return nil, fmt.Errorf("%w: not in canonical form", errManifest)
	}
	var m Manifest
	if err := mission.Decode(data, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", errManifest, err)
	}
	return &m, nil
}

// Validate checks the values of a manifest against each other and their spelling.
func (m *Manifest) Validate() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", errManifest, what) }
	switch {
	case m.Version != ManifestVersion:
		return bad("bundle_version")
	case !isIssuerTime(m.CreatedAt):
		return bad("created_at")
	case m.Exporter == "":
		return bad("exporter")
	case len(m.Query.Subjects) > maxSubjects || !strictlySorted(m.Query.Subjects, func(s string) string { return s }):
		return bad("query")
	case ledger.CheckOrigin(m.Log.Origin) != nil || m.Log.Size < 2:
		return bad("log")
	case !strictlySorted(m.Files, func(f FileInfo) string { return f.Path }):
		return bad("files")
	case !strictlySorted(m.Gaps, func(g Gap) string { return g.EntryID }):
		return bad("gaps")
	case !strictlySorted(m.Erased, func(e Erasure) string { return e.EntryID }):
		return bad("erased")
	}
	if _, err := ledger.ParseEntryID(m.Log.Root); err != nil { // also 64 lowercase hex digits
		return bad("log root")
	}
	for _, f := range m.Files {
		if _, err := ledger.ParseEntryID(f.SHA256); err != nil || f.Size < 0 || f.Role == "" {
			return bad("file " + f.Path)
		}
	}
	for _, g := range m.Gaps {
		if _, err := ledger.ParseEntryID(g.EntryID); err != nil || g.Reason != "withheld" && g.Reason != "unavailable" {
			return bad("gap")
		}
	}
	for _, e := range m.Erased {
		_, err := ledger.ParseEntryID(e.EntryID)
		_, err2 := ledger.ParseEntryID(e.Record)
		if err != nil || err2 != nil {
			return bad("erasure")
		}
	}
	return nil
}

// isIssuerTime reports whether s is an instant in the one form that issuers write.
func isIssuerTime(s string) bool {
	t, err := mission.ParseTime(s)
	return err == nil && mission.FormatTime(t) == s
}

// strictlySorted reports whether the keys of list ascend without repetition.
func strictlySorted[T any](list []T, key func(T) string) bool {
	for i := 1; i < len(list); i++ {
		if key(list[i-1]) >= key(list[i]) {
			return false
		}
	}
	return true
}
