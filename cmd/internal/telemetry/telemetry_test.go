package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// token is shaped like a signed token; what it says does not matter.
const token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2lnbmF0dXJlLXZhbHVl"

type named struct{ text string }

func (n named) String() string { return n.text }

func TestLogsCarryNoSecrets(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log, err := NewLogger(&out, "debug", format)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("request refused",
			"client_assertion", "hunter-1",
			"Authorization", "hunter-2",
			slog.Group("request", slog.String("cookie", "hunter-3"), slog.Any("header", map[string]string{"x": "hunter-4"})),
			"octets", []byte("hunter-5"),
			"value", struct{ Secret string }{"hunter-6"},
			"error", errors.New("parsing "+token+": bad signature"),
			"detail", "Bearer "+token,
			"stringer", named{token},
			"mission_id", "msn_visible",
			"evidence_digest", "sha-256:visible-digest",
			"code", "invalid_request",
			"status", 400,
		)
		text := out.String()
		if strings.Contains(text, "hunter") || strings.Contains(text, "eyJ") || strings.Contains(text, "c2lnbm") {
			t.Errorf("%s: a secret reached the log: %s", format, text)
		}
		for _, want := range []string{"msn_visible", "visible-digest", "invalid_request", "400", "bad signature", redacted} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the log lost %q: %s", format, want, text)
			}
		}
		if n := strings.Count(text, "\n"); n != 1 {
			t.Errorf("%s: %d lines for one event", format, n)
		}
	}
}

func TestLongAndHostileStrings(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(&out, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("below the level")
	log.Info("event", "name", strings.Repeat("ä", 5000), "other", "a\nb\x00c\xff", Millis("took", 1500*time.Microsecond))
	text := out.String()
	if len(text) > 1200 {
		t.Errorf("a long value was not cut: %d octets", len(text))
	}
	if strings.Count(text, "\n") != 1 || strings.ContainsRune(text, 0) {
		t.Errorf("control characters reached the log: %q", text)
	}
	if !strings.Contains(text, `"took":1.5`) {
		t.Errorf("duration is not milliseconds: %s", text)
	}
}

func TestNewLoggerRefusesUnknownSettings(t *testing.T) {
	if _, err := NewLogger(new(bytes.Buffer), "verbose", "json"); err == nil {
		t.Error("unknown level accepted")
	}
	if _, err := NewLogger(new(bytes.Buffer), "info", "xml"); err == nil {
		t.Error("unknown format accepted")
	}
}

func TestMetricsText(t *testing.T) {
	r := NewRegistry()
	requests := r.Counter("mas_requests_total", "Requests by surface and result.",
		Label{"surface", []string{"status", "federation"}}, Label{"result", []string{"ok", "refused"}})
	plain := r.Counter("mas_starts_total", "Starts.")
	r.Gauge("mas_tree_size", "Entries in the published tree.", func() float64 { return 42 })
	h := r.Histogram("mas_seconds", "Time taken.", []float64{0.1, 1}, Label{"surface", []string{"status"}})

	requests.Add(2, "status", "ok")
	requests.Add(1, "status", "made up by a caller")
	h.Observe(0.1, "status")
	h.Observe(0.5, "status")
	h.Observe(7, "status")

	var out bytes.Buffer
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	const want = `# HELP mas_requests_total Requests by surface and result.
# TYPE mas_requests_total counter
mas_requests_total{surface="status",result="ok"} 2
mas_requests_total{surface="status",result="other"} 1
# HELP mas_starts_total Starts.
# TYPE mas_starts_total counter
mas_starts_total 0
# HELP mas_tree_size Entries in the published tree.
# TYPE mas_tree_size gauge
mas_tree_size 42
# HELP mas_seconds Time taken.
# TYPE mas_seconds histogram
mas_seconds_bucket{surface="status",le="0.1"} 1
mas_seconds_bucket{surface="status",le="1"} 2
mas_seconds_bucket{surface="status",le="+Inf"} 3
mas_seconds_sum{surface="status"} 7.6
mas_seconds_count{surface="status"} 3
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	if plain.Value() != 0 || requests.Value("status", "ok") != 2 {
		t.Error("Value disagrees with Add")
	}
}

// TestLabelsAreClosed: no caller can create a series.
func TestLabelsAreClosed(t *testing.T) {
	r := NewRegistry()
	c := r.Counter("c_total", "C.", Label{"code", []string{"a"}})
	for i := range 1000 {
		c.Add(1, strings.Repeat("x", i))
	}
	if got := c.Value(Other); got != 1000 {
		t.Errorf("%d counted under other", got)
	}
	if len(c.counts) != 2 {
		t.Errorf("%d series", len(c.counts))
	}
}

func TestConcurrentUse(t *testing.T) {
	r := NewRegistry()
	c := r.Counter("c_total", "C.")
	h := r.Histogram("h", "H.", []float64{1})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				c.Add(1)
				h.Observe(0.5)
			}
		})
	}
	wg.Wait()
	var out bytes.Buffer
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "h_sum 4000\n") || c.Value() != 8000 {
		t.Errorf("lost updates:\n%s", out.String())
	}
}

func TestTwoMetricsOfOneName(t *testing.T) {
	r := NewRegistry()
	r.Counter("c_total", "C.")
	defer func() {
		if recover() == nil {
			t.Error("a second metric of the same name was accepted")
		}
	}()
	r.Gauge("c_total", "C.", func() float64 { return 0 })
}
