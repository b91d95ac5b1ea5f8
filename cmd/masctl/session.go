package main

import (
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/mission"
)

// maxInput bounds what is read from a file or standard input.
const maxInput = 1 << 20

// A session is one run of the command: its streams and global flags.
type session struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	server, profilePath, cookieJar, output string
}

// A profile says who talks to whom.
type profile struct {
	Issuer   string     `json:"issuer"`
	ClientID string     `json:"client_id"`
	JWK      client.JWK `json:"jwk"`
	// Statement is what a producer signs statements with.
	Statement *statementKey `json:"statement,omitempty"`
}

// devFile is what masctl reads of the dev.json of a development server.
type devFile struct {
	Issuer  string                   `json:"issuer"`
	Clients map[string]devCredential `json:"clients"`
}

type devCredential struct {
	ClientID  string        `json:"client_id"`
	JWK       client.JWK    `json:"jwk"`
	Statement *statementKey `json:"statement,omitempty"`
}

// readProfile reads the profile file, which only its owner may read; FILE#NAME is a local principal of a dev.json.
func (s *session) readProfile() (*profile, error) {
	path, name, dev := strings.Cut(s.profilePath, "#")
	text, err := readPrivate(path)
	if err != nil {
		return nil, usage("profile: %w", err)
	}
	if !dev {
		var p profile
		if err := mission.Decode(text, &p); err != nil {
			return nil, usage("profile %s: want {issuer, client_id, jwk, statement?}", path)
		}
		return &p, nil
	}
	var d devFile
	if err := mission.DecodeOpen(text, &d); err != nil {
		return nil, usage("%s is not the dev.json of a development server", path)
	}
	c, ok := d.Clients[name]
	if !ok {
		return nil, usage("%s has no local principal %q", path, name)
	}
	return &profile{Issuer: d.Issuer, ClientID: c.ClientID, JWK: c.JWK, Statement: c.Statement}, nil
}

// anonymous returns a client that proves nothing, for public surfaces.
func (s *session) anonymous() (*client.Client, error) {
	issuer := s.server
	if s.profilePath != "" {
		p, err := s.readProfile()
		if err != nil {
			return nil, err
		}
		issuer = p.Issuer
	}
	if issuer == "" {
		return nil, usage("--server or --profile is required")
	}
	return s.connect(client.New(issuer, "", nil))
}

// authenticated returns a client that acts as the profile's principal.
func (s *session) authenticated() (*client.Client, error) {
	if s.profilePath == "" {
		return nil, usage("--profile is required")
	}
	p, err := s.readProfile()
	if err != nil {
		return nil, err
	}
	key, err := p.JWK.Signer()
	if err != nil || p.ClientID == "" {
		return nil, usage("profile %s: no usable client_id and private jwk", s.profilePath)
	}
	return s.connect(client.New(p.Issuer, p.ClientID, key))
}

// connect applies --server and --cookie-jar.
func (s *session) connect(c *client.Client) (*client.Client, error) {
	if s.server != "" {
		c.Server = strings.TrimSuffix(s.server, "/")
	}
	u, err := url.Parse(c.Server)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usage("%q is not the URL of a service", c.Server)
	}
	if !safeOrigin(u) {
		return nil, usage("%s: plain HTTP is for loopback addresses only", c.Server)
	}
	if s.cookieJar == "" {
		return c, nil
	}
	jar, err := loadCookies(s.cookieJar, u)
	if err != nil {
		return nil, err
	}
	c.HTTP.Jar = jar
	return c, nil
}

// safeOrigin accepts https, and http on a loopback address.
func safeOrigin(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && addr.IsLoopback())
}

// readPrivate reads a regular file that only its owner can read or write.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s must be a regular file of mode 0600", path)
	}
	return readAll(f)
}

// readInput reads a file, or standard input if the path is "-".
func (s *session) readInput(path string) ([]byte, error) {
	if path == "-" {
		return readAll(s.stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close()
	return readAll(f)
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxInput {
		return nil, usage("the input is larger than %d octets", maxInput)
	}
	return data, nil
}

// note tells the person something that is not a result.
func (s *session) note(format string, args ...any) { fmt.Fprintf(s.stderr, format+"\n", args...) }

// writeNew creates a file that must not exist yet.
func writeNew(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return usageError{err}
	}
	_, err = f.Write(data)
	if err := f.Close(); err != nil {
		return err
	}
	return err
}

// mediaType is the media type of a response without parameters.
func mediaType(r *client.Response) string {
	name, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(name))
}

// isJSON reports whether a response is JSON of some kind.
func isJSON(r *client.Response) bool {
	t := mediaType(r)
	return t == "application/json" || strings.HasSuffix(t, "+json")
}

// checkOutput validates --output.
func (s *session) checkOutput() error {
	if !slices.Contains([]string{"table", "json", "ndjson"}, s.output) {
		return usage("--output must be table, json or ndjson")
	}
	return nil
}
