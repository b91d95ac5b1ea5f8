package oracle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
)

const hammerLeaves = 2500

// complaint matches the lines of Tessera's log that are warnings or worse: a letter, then the date.
var complaint = regexp.MustCompile(`^[WEF][0-9]{4} `)

// TestHammer has Tessera's load generator write 2,500 leaves and read the log meanwhile, whole and at random. It checks
// that each checkpoint it sees is consistent with those before; it must end by itself and complain of nothing.
//
// Audit rows: 19.
func TestHammer(t *testing.T) {
	d := domaintest.New(t)
	front := &hammerFront{domain: d, client: d.Client(t, "auditor"), signer: d.Keys.Key(keys.Evidence).COSE()}
	server := httptest.NewServer(front)
	defer server.Close()

	hammer := filepath.Join(t.TempDir(), "hammer")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", hammer,
		"github.com/transparency-dev/tessera/internal/hammer").CombinedOutput(); err != nil {
		t.Fatalf("building hammer: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, hammer, "--log_public_key="+d.VKey, "--log_url="+server.URL+"/",
		"--write_log_url="+server.URL+"/", "--num_writers=64", "--max_write_ops=400", "--max_read_ops=200",
		fmt.Sprintf("--leaf_write_goal=%d", hammerLeaves), "--max_runtime=2m", "--show_ui=false", "--logtostderr")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("hammer: %v\n%s", err, said.Bytes())
	}
	for line := range strings.Lines(said.String()) {
		if complaint.MatchString(line) {
			t.Errorf("hammer says %s", line)
		}
	}
	if front.written.Load() < hammerLeaves || front.bundles.Load() == 0 || front.failed.Load() != 0 {
		t.Errorf("%d leaves written, %d bundles read, %d requests failed", front.written.Load(), front.bundles.Load(),
			front.failed.Load())
	}
	t.Logf("hammer: %d leaves written, %d bundles and %d tiles read", front.written.Load(), front.bundles.Load(),
		front.tiles.Load())
}

// A hammerFront is what hammer talks to: it registers what is posted to /add and answers with the index, and passes
// reads on with the auditor's credential, which is new for each request.
type hammerFront struct {
	domain *domaintest.Domain
	client *client.Client
	signer ledger.Signer

	written, bundles, tiles, failed atomic.Int64
}

func (f *hammerFront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	if r.Method == http.MethodPost && r.URL.Path == "/add" {
		err = f.add(w, r)
	} else {
		err = f.read(w, r)
	}
	if err != nil {
		if r.Context().Err() == nil { // hammer leaves without waiting for its last requests
			f.failed.Add(1)
		}
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (f *hammerFront) add(w http.ResponseWriter, r *http.Request) error {
	leaf, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		return err
	}
	statement, err := ledger.SignStatement(r.Context(), ledger.Claims{
		Issuer: f.domain.Issuer, Subject: f.domain.Issuer + "/exports/hammer", ContentType: "application/octet-stream",
		Digest: sha256.Sum256(leaf),
	}, f.signer)
	if err != nil {
		return err
	}
	done, err := f.domain.Log.Commit(r.Context(), ledger.Change{Entries: []ledger.Entry{{Statement: statement}}})
	if err != nil {
		return err
	}
	if !done.Results[0].Duplicate {
		f.written.Add(1)
	}
	_, err = fmt.Fprintf(w, "%d", done.Results[0].Index)
	return err
}

func (f *hammerFront) read(w http.ResponseWriter, r *http.Request) error {
	resp, err := f.client.Get(r.Context(), "/log/main"+r.URL.Path)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/tile/entries/"):
		f.bundles.Add(1)
	case strings.HasPrefix(r.URL.Path, "/tile/"):
		f.tiles.Add(1)
	}
	_, err = w.Write(resp.Body)
	return err
}
