// Package telemetry sets up what the server tells its operators: structured logs that cannot carry secrets, and metrics
// with closed label sets.
//
// Logs are one JSON or text line per event with a constant message. A value is written only if it is of a plain kind
// and does not look like a credential; everything else becomes "[redacted]" (see Redact). Metrics are counters, gauges
// and histograms whose label values are all declared in advance, so no request can create a series; they are served in
// the Prometheus text format. The package owns no global, starts no goroutine and knows nothing of the rest of the
// product.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	redacted     = "[redacted]"
	maxLogString = 256 // characters of one value; what is longer is cut
)

// NewLogger returns a logger that writes to w in the given format, "json" or "text", from the given level on: "debug",
// "info", "warn" or "error".
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, level) {
		return nil, fmt.Errorf("telemetry: unknown log level %q", level)
	}
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("telemetry: log level: %w", err)
	}
	options := &slog.HandlerOptions{Level: l, ReplaceAttr: Redact}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	}
	return nil, fmt.Errorf("telemetry: unknown log format %q", format)
}

// secretNames are attribute names, or last parts of them ("client_assertion"), whose values are never written. A digest
// of one ("evidence_digest") is not one.
var secretNames = []string{
	"assertion", "authorization", "bearer", "body", "cookie", "evidence", "goal", "intent", "jwk", "passphrase",
	"password", "private", "secret", "token",
}

// compactJWS matches what could be a signed token wherever it stands.
var compactJWS = regexp.MustCompile(`[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{8,}`)

// Redact is the rule for one attribute, as slog.HandlerOptions.ReplaceAttr wants it. It withholds values with a name
// from the list of secrets, values that contain a compact JWS, and every value that is not a boolean, a number, a
// string, a time, a duration, an error or a fmt.Stringer: structs, maps and octets never reach a log. Long strings are
// cut.
func Redact(_ []string, a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
		return a
	}
	if isSecretName(a.Key) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, clean(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error:
			return slog.String(a.Key, clean(v.Error()))
		case fmt.Stringer:
			return slog.String(a.Key, clean(v.String()))
		case nil:
			return a
		}
		return slog.String(a.Key, redacted)
	}
	return a
}

func isSecretName(key string) bool {
	key = strings.ToLower(key)
	last := key[strings.LastIndexAny(key, "_-.")+1:]
	return slices.Contains(secretNames, last)
}

// clean returns s without anything that looks like a token, cut to maxLogString characters of valid UTF-8.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) > maxLogString {
		s = string([]rune(s)[:maxLogString]) + "…"
	}
	return compactJWS.ReplaceAllString(s, redacted)
}

// Millis is a duration as a log value: milliseconds with three decimals.
func Millis(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}
