package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// Bounds of one exchange with a witness.
const (
	maxAnswer      = 32 << 10 // signature lines: room for nine post-quantum ones
	maxHeader      = 8 << 10
	connectTimeout = 3 * time.Second
	idleTimeout    = 2 * time.Minute

	mediaSize = "text/x.tlog.size"
)

// newHTTPClient makes a client that follows no redirects, uses no proxy and ends every exchange in time.
func newHTTPClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout:    connectTimeout,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        idleTimeout,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       timeout,
	}
}

// CheckURL refuses the URL of a witness that is not https, or http on a loopback address if that is allowed.
func CheckURL(prefix string, loopback bool) error {
	u, err := url.Parse(prefix)
	if err != nil || u.Host == "" {
		return errors.New("witness: no URL")
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "https" || loopback && u.Scheme == "http" && err == nil && addr.IsLoopback() {
		return nil
	}
	return fmt.Errorf("witness: %.200q is not https", prefix)
}

// A Refusal is an answer of a witness other than a cosignature.
type Refusal struct {
	Status int
	Size   uint64 // with status 409: what the witness has cosigned last
}

func (r *Refusal) Error() string {
	if r.Status == http.StatusConflict {
		return fmt.Sprintf("witness: it has cosigned size %d", r.Size)
	}
	return fmt.Sprintf("witness: status %d", r.Status)
}

// addCheckpoint posts a request to a witness and returns its signature lines, or a *Refusal.
func addCheckpoint(ctx context.Context, client *http.Client, prefix string, request ledger.AddCheckpoint) ([]byte, error) {
	body, err := request.Marshal()
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, prefix+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := readAtMost(resp.Body, maxAnswer)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return answer, nil
	case http.StatusConflict:
		size, err := parseSize(answer)
		if err != nil || resp.Header.Get("Content-Type") != mediaSize {
			return nil, errors.New("witness: a conflict without a size")
		}
		return nil, &Refusal{Status: resp.StatusCode, Size: size}
	}
	return nil, &Refusal{Status: resp.StatusCode}
}

// parseSize reads a decimal without leading zeros and a line feed.
func parseSize(answer []byte) (uint64, error) {
	text, ok := strings.CutSuffix(string(answer), "\n")
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || !ok || strconv.FormatUint(n, 10) != text {
		return 0, errors.New("witness: not a size")
	}
	return n, nil
}

// OriginHash names a log in the paths of a witness.
func OriginHash(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}

// latest fetches the newest checkpoint of a log that a witness has cosigned. Nothing about it is verified. A witness
// that never cosigned one answers with a *Refusal of status 404.
func latest(ctx context.Context, client *http.Client, prefix, origin string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, prefix+"/"+OriginHash(origin)+"/checkpoint", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := readAtMost(resp.Body, ledger.MaxNoteSize)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = &Refusal{Status: resp.StatusCode}
	}
	return text, err
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("witness: an answer of more than %d octets", limit)
	}
	return b, err
}
