package httpapi

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"sync"
)

// minCompressed is the size from which an entry bundle is worth compressing, in octets.
const minCompressed = 1 << 10

var gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// compressed gives r its gzip form if the request accepts that (RFC 9110, section 12.5.3). The entity tag of a
// compressed representation is its own. Hash tiles are not compressed: hashes do not get smaller.
func compressed(req *http.Request, r reply) reply {
	r.header.Add("Vary", "Accept-Encoding")
	if len(r.body) < minCompressed || !acceptsGzip(req.Header.Values("Accept-Encoding")) {
		return tagged(r)
	}
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	_, err := w.Write(r.body)
	if err == nil {
		err = w.Close()
	}
	if err != nil || out.Len() >= len(r.body) { // writing to memory does not fail
		return tagged(r)
	}
	r.body = out.Bytes()
	r.header.Set("Content-Encoding", "gzip")
	return tagged(r)
}

// acceptsGzip reports whether an Accept-Encoding field names gzip and does not refuse it with a quality of zero.
func acceptsGzip(fields []string) bool {
	for _, field := range fields {
		for item := range strings.SplitSeq(field, ",") {
			name, parameters, _ := strings.Cut(item, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			quality, weighted := strings.CutPrefix(strings.ToLower(strings.TrimSpace(parameters)), "q=")
			return !weighted || strings.Trim(quality, "0.") != ""
		}
	}
	return false
}
