package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mission-authority/mas/mission"
)

const (
	mediaForm = "application/x-www-form-urlencoded"
	mediaJSON = "application/json"

	maxFormFields = 32
)

// A malformedRequest is a refusal by this package after the caller was authenticated: nobody else records it.
type malformedRequest struct{ err error }

func (m *malformedRequest) Error() string { return m.err.Error() }
func (m *malformedRequest) Unwrap() error { return m.err }

// malformed makes the refusal of a request with a finer reason: the member at fault or what is wrong with it.
func malformed(reason string) error { return &malformedRequest{because(errMalformed, reason)} }

// readBody reads at most limit octets of the announced media type. An encoded body is refused: the limit is on what is
// parsed.
func readBody(w http.ResponseWriter, r *http.Request, mediaType string, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	types := r.Header.Values("Content-Type")
	if len(types) != 1 || len(r.Header.Values("Content-Encoding")) > 0 {
		return nil, errMediaType
	}
	got, params, err := mime.ParseMediaType(types[0])
	if err != nil || got != mediaType {
		return nil, errMediaType
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return nil, errMediaType
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok && tooLarge != nil {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, malformed("body")
	}
	return body, nil
}

// isMedia reports whether the body says it is of a media type.
func isMedia(r *http.Request, mediaType string) bool {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && got == mediaType
}

// parseForm reads application/x-www-form-urlencoded strictly: every name once, no separators but "&", names and values
// of valid UTF-8 without NUL.
func parseForm(body []byte) (url.Values, error) {
	text := string(body)
	if strings.Count(text, "&") >= maxFormFields {
		return nil, malformed("form")
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, malformed("form")
	}
	for name, values := range form {
		if len(values) != 1 {
			return nil, malformed("duplicate_member")
		}
		for _, s := range []string{name, values[0]} {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				return nil, malformed("form")
			}
		}
	}
	return form, nil
}

// fields checks a form against the names it may have, besides those of the client assertion, and must have.
func fields(form url.Values, required, optional []string) error {
	for name := range form {
		if name != "client_assertion" && name != "client_assertion_type" && name != "client_id" &&
			!slices.Contains(required, name) && !slices.Contains(optional, name) {
			return malformed("unknown_member")
		}
	}
	for _, name := range required {
		if form.Get(name) == "" {
			return malformed(name)
		}
	}
	for _, name := range optional {
		if form.Has(name) && form.Get(name) == "" {
			return malformed(name)
		}
	}
	return nil
}

// decode reads a closed JSON object into *dst.
func decode(body []byte, dst any) error {
	err := mission.Decode(body, dst)
	if bad, ok := errors.AsType[*mission.JSONError](err); ok {
		return malformed(bad.Reason)
	}
	return err
}

// query checks the query of a GET request as strictly as a form.
func query(r *http.Request, names ...string) (url.Values, error) {
	q, err := parseForm([]byte(r.URL.RawQuery))
	if err != nil {
		return nil, err
	}
	for name := range q {
		if !slices.Contains(names, name) {
			return nil, malformed("unknown_member")
		}
	}
	return q, nil
}
