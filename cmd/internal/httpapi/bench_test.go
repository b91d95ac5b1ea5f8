package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// BenchmarkStatus is P6 in process: a signed status through the whole surface, beside a bare handler that authenticates
// its callers the same way and signs a payload of the same size with the same key.
func BenchmarkStatus(b *testing.B) {
	payload, err := mission.Marshal(map[string]string{"padding": strings.Repeat("x", 600)})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("surface", func(b *testing.B) {
		s := &signer{payload: payload}
		w := newWorld(b, func(c *Config) { c.Rate, c.Missions = 1_000_000, s })
		s.key = w.issuer
		w.measureStatus(b, w.api)
	})
	b.Run("bare", func(b *testing.B) {
		w := newWorld(b)
		auth := w.api.auth
		w.measureStatus(b, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			body, err := readBody(out, r, mediaForm, 4<<10)
			if err != nil {
				b.Fatal(err)
			}
			form, err := parseForm(body)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := auth.fromForm(r, form); err != nil {
				b.Fatal(err)
			}
			token, err := jws.Sign(r.Context(), w.issuer, jws.TypStatus, payload)
			if err != nil {
				b.Fatal(err)
			}
			out.Header().Set("Content-Type", jws.TypStatus.ContentType())
			if _, err := out.Write([]byte(token)); err != nil {
				b.Fatal(err)
			}
		}))
	})
}

// signer answers every status query by signing the same payload.
type signer struct {
	fakeMissions
	payload []byte
	key     *jws.Key
}

func (s *signer) Status(ctx context.Context, _ authority.Caller, _ authority.StatusQuery) (string, error) {
	return jws.Sign(ctx, s.key, jws.TypStatus, s.payload)
}

// measureStatus sends b.N status queries, each with an assertion of its own that was made before the clock starts.
func (w *world) measureStatus(b *testing.B, h http.Handler) {
	b.Helper()
	bodies := make([]string, b.N)
	for i := range bodies {
		bodies[i] = w.form("pep", url.Values{"mission_id": {"msn_1"}, "nonce": {"n"}}).Encode()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, body := range bodies {
		r := httptest.NewRequest(http.MethodPost, "/mas/missions/status", strings.NewReader(body))
		r.Header.Set("Content-Type", mediaForm)
		out := httptest.NewRecorder()
		h.ServeHTTP(out, r)
		if out.Code != http.StatusOK {
			b.Fatalf("status %d: %s", out.Code, out.Body)
		}
	}
}
