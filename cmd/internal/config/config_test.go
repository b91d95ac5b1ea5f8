package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serveYAML is a complete configuration of serve.
const serveYAML = `issuer: https://mas.example.org
listen: 0.0.0.0:8443
tls: {cert: tls/cert.pem, key: tls/key.pem}
metrics: {listen: "127.0.0.1:9420"}
store: {engine: badger, dir: store}
keys:
  checkpoint: keys/checkpoint.pem
  receipts: keys/receipts.pem
  issuer: keys/issuer.pem
  evidence: keys/evidence.pem
  governance: keys/governance.pem
  root: keys/root.key
  passphrase_file: keys/passphrase
principals: principals.json
peers_dir: peers
freshness: {max_stale_seconds: 60, status_ttl_seconds: 30}
log: {shard: 2026}
limits: {body: 32768, rate: 50}
telemetry: {level: warn, format: text}
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServe(t *testing.T) {
	path := write(t, serveYAML)
	c, err := LoadServe(Sources{File: path})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for got, want := range map[string]string{
		c.Store.Dir:           filepath.Join(dir, "store"),
		c.TLS.Cert:            filepath.Join(dir, "tls/cert.pem"),
		c.Keys.Root:           filepath.Join(dir, "keys/root.key"),
		c.Keys.PassphraseFile: filepath.Join(dir, "keys/passphrase"),
		c.Principals:          filepath.Join(dir, "principals.json"),
		c.Log.Shard:           "2026",
		c.LogOrigin():         "mas.example.org/log/2026",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if c.Freshness.StatusTTL != 30 || c.Limits.Rate != 50 || c.Loopback() {
		t.Errorf("got %+v", c)
	}
}

func TestEnvironmentAndFlagsOverride(t *testing.T) {
	path := write(t, serveYAML)
	c, err := LoadServe(Sources{
		File:    path,
		Environ: []string{"MAS_CONFIG_LIMITS__RATE=70", "MAS_CONFIG_TELEMETRY__LEVEL=error", "OTHER=1", "MAS_X=1"},
		Flags:   map[string]string{"limits.rate": "80"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Limits.Rate != 80 || c.Telemetry.Level != "error" {
		t.Errorf("rate %d, level %s", c.Limits.Rate, c.Telemetry.Level)
	}
}

// TestRefusals: what is wrong is refused with the key and what a person should write.
func TestRefusals(t *testing.T) {
	replace := func(old, with string) string {
		if !strings.Contains(serveYAML, old) {
			t.Fatalf("no %q in the base file", old)
		}
		return strings.Replace(serveYAML, old, with, 1)
	}
	for _, tc := range []struct{ name, yaml, want string }{
		{"unknown key", serveYAML + "issuerr: x\n", "issuerr: no such setting"},
		{"unknown nested key", replace("rate: 50", "rate: 50, burst: 3"), "limits.burst: no such setting"},
		{"wrong case", replace("issuer:", "Issuer:"), "Issuer: no such setting"},
		{"duplicate key", serveYAML + "listen: 0.0.0.0:1\n", "already defined"},
		{"fail_closed alone", replace("shard: 2026", "shard: 2026, publish: fail_closed"),
			"log.publish: fail_closed needs log.witness_policy"},
		{"publish", replace("shard: 2026", "shard: 2026, publish: never"), "log.publish: must be one of: fail_open, fail_closed"},
		{"interval", replace("shard: 2026", "shard: 2026, witness_interval: 0"), "log.witness_interval: must be at least 1"},
		{"witness without a key", serveYAML + "witness: {logs: l}\n", "witness.logs: needs keys.witness"},
		{"postponed directory", serveYAML + "policy_dir: p\n", "policy_dir: access policies from files is not available"},
		{"client certificates", replace("cert: tls/cert.pem", "client_ca: ca.pem, cert: tls/cert.pem"), "tls.client_ca"},
		{"missing issuer", replace("issuer: https://mas.example.org", ""), "issuer: is required"},
		{"http issuer", replace("https://mas.example.org", "http://mas.example.org"), "issuer: must be an https URL"},
		{"loopback issuer", replace("https://mas.example.org", "http://127.0.0.1:8420"), "issuer: must be an https URL"},
		{"issuer with slash", replace("https://mas.example.org", "https://mas.example.org/"), "issuer: must be"},
		{"issuer with query", replace("https://mas.example.org", "https://mas.example.org?x"), "issuer: must be"},
		{"issuer in upper case", replace("https://mas.example.org", "https://MAS.example.org"), "issuer: must be"},
		{"issuer with user", replace("https://mas.example.org", "https://u@mas.example.org"), "issuer: must be"},
		{"issuer with dots", replace("https://mas.example.org", "https://mas.example.org/../x"), "issuer: must be"},
		{"listen without port", replace("0.0.0.0:8443", "0.0.0.0"), "listen: must be an address and a port"},
		{"no tls", replace("tls: {cert: tls/cert.pem, key: tls/key.pem}", ""), "tls: cert and key are required"},
		{"half a tls", replace(", key: tls/key.pem", ""), "tls.key: is required together with cert"},
		{"engine", replace("engine: badger", "engine: postgres"), "store.engine: must be one of: badger"},
		{"missing key", replace("  receipts: keys/receipts.pem\n", ""), "keys.receipts: is required"},
		{"shared key", replace("keys/receipts.pem", "keys/issuer.pem"), "is named for two keys"},
		{"no passphrase", replace("  passphrase_file: keys/passphrase\n", ""), "keys.passphrase_file: is required"},
		{"stale", replace("max_stale_seconds: 60", "max_stale_seconds: 0"), "freshness.max_stale_seconds: must be at least 1"},
		{"ttl", replace("status_ttl_seconds: 30", "status_ttl_seconds: 61"), "freshness.status_ttl_seconds: must not be greater"},
		{"not a number", replace("rate: 50", "rate: many"), "limits.rate: must be a whole number"},
		{"fraction", replace("rate: 50", "rate: 1.5"), "limits.rate: must be a whole number"},
		{"list", replace("listen: 0.0.0.0:8443", "listen: [a]"), "listen: must be text"},
		{"shard", replace("shard: 2026", "shard: a/b"), "log.shard: must be lower-case letters"},
		{"body", replace("body: 32768", "body: 1048576"), "limits.body: must be at most 65536"},
		{"level", replace("level: warn", "level: loud"), "telemetry.level: must be one of: debug, info, warn, error"},
		{"not yaml", "{", "reading"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := LoadServe(Sources{File: write(t, tc.yaml)})
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, want %q in it", err, tc.want)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := LoadServe(Sources{Environ: []string{"MAS_CONFIG_LIMITS__RATE=0"}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"issuer: is required", "store.dir: is required", "limits.rate: must be", "tls: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in %q", want, err)
		}
	}
}

func TestUnknownEnvironment(t *testing.T) {
	_, err := LoadServe(Sources{File: write(t, serveYAML), Environ: []string{"MAS_CONFIG_LIMIT__RATE=1"}})
	if err == nil || !strings.Contains(err.Error(), "limit.rate: no such setting") {
		t.Errorf("got %v", err)
	}
}

func TestDevNeedsNothing(t *testing.T) {
	dir := t.TempDir()
	c, err := LoadDev(dir, Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Issuer != "http://127.0.0.1:8420" || c.Store.Dir != filepath.Join(dir, "store") || !c.Loopback() {
		t.Errorf("got %+v", c)
	}
	if c.LogOrigin() != "127.0.0.1:8420/log/main" {
		t.Errorf("origin %q", c.LogOrigin())
	}
}

func TestDevReadsItsOwnFile(t *testing.T) {
	dir := t.TempDir()
	text := "freshness: {max_stale_seconds: 5, status_ttl_seconds: 5}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadDev(dir, Sources{Flags: map[string]string{"listen": "127.0.0.1:9000"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Freshness.MaxStale != 5 || c.Issuer != "http://127.0.0.1:9000" {
		t.Errorf("got %+v", c)
	}
}

func TestDevStaysOnLoopback(t *testing.T) {
	for flag, value := range map[string]string{"listen": "0.0.0.0:8420", "issuer": "http://mas.example.org"} {
		_, err := LoadDev(t.TempDir(), Sources{Flags: map[string]string{flag: value}})
		if err == nil || !strings.Contains(err.Error(), "this machine") {
			t.Errorf("%s=%s: got %v", flag, value, err)
		}
	}
}

// FuzzLoad: no file makes the loader panic, and what it accepts is valid.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(serveYAML))
	f.Add([]byte("a: {b: &x [*x]}\n"))
	f.Add([]byte("keys: 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := LoadServe(Sources{File: path}); err == nil && !validIssuer(c.Issuer, false) {
			t.Errorf("accepted issuer %q", c.Issuer)
		}
	})
}
