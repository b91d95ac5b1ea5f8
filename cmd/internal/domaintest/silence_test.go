package domaintest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

// A lockedBuffer is a buffer that a logger may write to from many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestSilence takes a mission from submission to erasure in a whole domain that logs everything it can log, and looks
// for what must stay out of logs and metrics: what was asked for, on whose behalf, tokens, private keys.
//
// Audit rows: 102, 133.
func TestSilence(t *testing.T) {
	dir, c := domaintest.Prepare(t, domain.DevCeiling, nil)
	var lines lockedBuffer
	d := domaintest.Start(t, dir, c, func(o *domain.Options) {
		o.Logger = slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	id := endedMission(t, d)
	auditor := d.Client(t, "auditor")
	if resp, err := auditor.Get(t.Context(), "/v1/feeds/"+base64.RawURLEncoding.EncodeToString([]byte(d.Issuer+"/missions/"+string(id)))); err != nil {
		t.Fatal(err)
	} else {
		var feed struct {
			Items []struct {
				EntryID string `json:"entry_id"`
				Digest  string `json:"payload_digest"`
				Type    string `json:"content_type"`
			} `json:"items"`
		}
		if err := resp.Decode(&feed); err != nil || len(feed.Items) == 0 {
			t.Fatalf("feed of %d items: %v", len(feed.Items), err)
		}
		for _, item := range feed.Items {
			if item.Type != mission.ContentApprovalRecord {
				continue
			}
			if _, err := auditor.Get(t.Context(), "/v1/evidence/"+item.Digest); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Client(t, "admin").Post(t.Context(), "/v1/erasures", map[string]string{"entry_id": item.EntryID,
				"basis": evidence.BasisDataSubject}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What is refused is talked about most.
	_, _ = d.Client(t, "agent").PostRaw(t.Context(), "/mas/submissions", "application/json",
		[]byte(`{"intent":{"goal":"`+secretGoal+`","x":1}}`))
	_, _ = d.Client(t, "agent").Form(t.Context(), "/mas/missions/status", url.Values{"mission_id": {secretGoal}})
	metrics, err := http.Get(d.Issuer + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer metrics.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(metrics.Body); err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(lines.String(), "POST /mas/submissions") || !strings.Contains(text.String(), "mas_") {
		t.Fatalf("nothing was logged, or nothing measured:\n%s\n%s", lines.String(), text.String())
	}
	said := lines.String() + text.String()
	for name, secret := range secrets(t, dir) {
		if strings.Contains(said, secret) {
			t.Errorf("%s was written down", name)
		}
	}
}

// secrets are what must not be said, by name.
func secrets(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{"the goal": secretGoal, "part of the goal": "patient 4711", "the person": `"owner"`,
		"an assertion": "eyJ", "a PEM file": "PRIVATE KEY"}
	data, err := os.ReadFile(filepath.Join(dir, "dev.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dev struct {
		Clients map[string]struct {
			JWK struct {
				D string `json:"d"`
			} `json:"jwk"`
		} `json:"clients"`
	}
	if err := json.Unmarshal(data, &dev); err != nil || len(dev.Clients) == 0 {
		t.Fatalf("dev.json has %d clients: %v", len(dev.Clients), err)
	}
	for name, client := range dev.Clients {
		if client.JWK.D != "" {
			out["the key of "+name] = client.JWK.D
		}
	}
	return out
}
