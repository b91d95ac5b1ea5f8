// Package config reads the settings of a server: a YAML file, environment variables over it, flags over both.
//
// Load accepts exactly the settings that exist: an unknown key, a key of a later version, a value of the wrong type or
// out of bounds is an error that names the key and says what is expected, and all such errors are reported together.
// Paths are made absolute against the directory of the file. The package does not open what the paths name: keys,
// principals and peers are read by their own packages.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// Config is what one server needs to know. Field tags: koanf is the key in files, validate the rule, path marks a file
// or directory.
type Config struct {
	Issuer     string    `koanf:"issuer" validate:"required,issuer"`       // issuer identifier: https, no query or fragment
	Listen     string    `koanf:"listen" validate:"required,listen"`       // host:port of the one listener
	TLS        TLS       `koanf:"tls"`                                     // required by serve, absent on loopback
	Metrics    Metrics   `koanf:"metrics"`                                 // own listener of serve
	Store      Store     `koanf:"store"`                                   // where the log and everything else is kept
	Keys       Keys      `koanf:"keys"`                                    // signing keys and the root of the vault
	Principals string    `koanf:"principals" validate:"required" path:"-"` // principals.json
	PeersDir   string    `koanf:"peers_dir" path:"-"`                      // one directory for each peer; empty: no peers
	Retention  string    `koanf:"retention" path:"-"`                      // retention policy; empty: nothing ages
	Freshness  Freshness `koanf:"freshness"`                               // how long a signed status may be relied on
	Log        Log       `koanf:"log"`                                     // the Merkle log
	Witness    Witness   `koanf:"witness"`                                 // of other logs
	Limits     Limits    `koanf:"limits"`                                  // what one caller may ask for
	Telemetry  Telemetry `koanf:"telemetry"`                               // logs

	Continuity Continuity `koanf:"continuity"` // copies of the log elsewhere

	loopback bool // dev and demo: plain HTTP on loopback addresses only
}

// TLS names the certificate chain and key of the listener.
type TLS struct {
	Cert string `koanf:"cert" validate:"required_with=Key" path:"-"`
	Key  string `koanf:"key" validate:"required_with=Cert" path:"-"`
}

// Metrics configures the listener for /metrics; empty means that metrics are not served.
type Metrics struct {
	Listen string `koanf:"listen" validate:"omitempty,listen"`
}

// Store names the storage engine and its directory.
type Store struct {
	Engine string `koanf:"engine" validate:"oneof=badger"`
	Dir    string `koanf:"dir" validate:"required" path:"-"`
}

// Keys holds one reference for each key. No two roles share a key. A reference is a file path,
// hashivault://KEY?version=N, openbao://KEY?version=N or a pkcs11: URI. It names the first key of its role; the key
// ring remembers what mas keys has made of it since.
type Keys struct {
	Checkpoint string `koanf:"checkpoint" validate:"required"` // Ed25519, signs checkpoints
	Receipts   string `koanf:"receipts" validate:"required"`   // ES256, signs COSE receipts
	Issuer     string `koanf:"issuer" validate:"required"`     // ES256, signs status and every other JWS of the issuer
	Evidence   string `koanf:"evidence" validate:"required"`   // ES256, signs statements
	Governance string `koanf:"governance" validate:"required"` // ES256, signs agreements
	Witness    string `koanf:"witness"`                        // Ed25519, signs cosignatures; empty: nobody's witness
	Root       string `koanf:"root" validate:"required"`       // 32 octets that seal the vault's record keys
	// PassphraseFile holds the passphrase of the PEM files; env:NAME and fd:N are other places. serve requires it.
	PassphraseFile string `koanf:"passphrase_file" path:"-"`
	Ring           string `koanf:"ring" path:"-"`                                 // file; default: keyring.json beside the store
	AuditHorizon   int    `koanf:"audit_horizon_days" validate:"min=1,max=36500"` // how long retired keys are published
}

// Freshness bounds signed statements about the state of a mission, in seconds.
type Freshness struct {
	MaxStale  int `koanf:"max_stale_seconds" validate:"min=1,max=3600"`
	StatusTTL int `koanf:"status_ttl_seconds" validate:"min=1,max=300,ltefield=MaxStale"`
}

// Log configures the Merkle log.
type Log struct {
	Shard string `koanf:"shard" validate:"shard"` // part of the log's origin: <host>/log/<shard>
	// FrozenDir holds the stores of shards that ended, each in a directory named after its shard. They stay readable; a
	// new shard continues the last of them.
	FrozenDir string `koanf:"frozen_dir" path:"-"`
	// WitnessPolicy is a tlog-policy file that names this log, its witnesses with their URLs, and the quorum; empty: no
	// witnesses.
	WitnessPolicy   string `koanf:"witness_policy" path:"-"`
	WitnessInterval int    `koanf:"witness_interval" validate:"min=1,max=3600"`     // seconds between two rounds
	Publish         string `koanf:"publish" validate:"oneof=fail_open fail_closed"` // what is published without a quorum
}

// Continuity names copies of the log that others keep.
type Continuity struct {
	Anchor  string `koanf:"anchor" path:"-"`  // a follower's copy; the server does not go on behind it
	Backups string `koanf:"backups" path:"-"` // directory of backups, for the metric of their age
}

// Witness configures what this server does for other logs, which needs keys.witness, and where cosignatures are kept.
type Witness struct {
	// Dir holds what was cosigned, ours by others and others' by us; by default beside store.dir, with "-witness"
	// added. It is not part of the store, so that a store that is set back does not take it along.
	Dir  string `koanf:"dir" path:"-"`
	Logs string `koanf:"logs" path:"-"` // a tlog-policy file whose logs are witnessed, beside those of the peers
}

// Limits bound what one caller may ask for.
type Limits struct {
	Body int `koanf:"body" validate:"min=4096,max=65536"` // octets of a request body; submissions may be four times as long
	Rate int `koanf:"rate" validate:"min=1,max=100000"`   // requests per second and caller, in bursts of twice as many
	// Statements that one producer may register in a second, in bursts of twice as many, at least 256.
	Statements int `koanf:"statements" validate:"min=1,max=1000000"`
	// Registration is how many seconds a producer waits for its entry before it is promised one.
	Registration int `koanf:"registration_seconds" validate:"min=1,max=15"`
}

// Telemetry configures logs.
type Telemetry struct {
	Level  string `koanf:"level" validate:"oneof=debug info warn error"`
	Format string `koanf:"format" validate:"oneof=json text"`
}

// EnvPrefix starts the name of every environment variable that overrides a setting; "__" stands for the dot, as in
// MAS_CONFIG_STORE__DIR.
const EnvPrefix = "MAS_CONFIG_"

// postponed are settings of the contract that this version does not have. They are refused rather than ignored.
var postponed = map[string]string{
	"policy_dir":     "access policies from files",
	"tls.client_ca":  "authentication by client certificate",
	"telemetry.otlp": "trace export",
}

// Sources are where settings come from, weakest first after the defaults.
type Sources struct {
	File    string            // YAML file; empty: none
	Environ []string          // "NAME=value"; variables without EnvPrefix are ignored
	Flags   map[string]string // dotted key to value, only those given on the command line
}

// LoadServe reads the settings of a production server: TLS, a passphrase and a real issuer are required.
func LoadServe(s Sources) (*Config, error) {
	c := defaults()
	c.Listen = "0.0.0.0:8420"
	if err := c.load(s); err != nil {
		return nil, err
	}
	return c, nil
}

// LoadDev returns the settings of a development server that keeps everything under dir. A config.yaml in dir and the
// flags may change them, except that the server never leaves the loopback interface.
func LoadDev(dir string, s Sources) (*Config, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	c := defaults()
	c.loopback = true
	c.Listen = "127.0.0.1:8420"
	c.Store.Dir = filepath.Join(dir, "store")
	c.Keys = Keys{
		AuditHorizon: c.Keys.AuditHorizon,
		Checkpoint:   filepath.Join(dir, "keys", "checkpoint.pem"),
		Receipts:     filepath.Join(dir, "keys", "receipts.pem"),
		Issuer:       filepath.Join(dir, "keys", "issuer.pem"),
		Evidence:     filepath.Join(dir, "keys", "evidence.pem"),
		Governance:   filepath.Join(dir, "keys", "governance.pem"),
		Root:         filepath.Join(dir, "keys", "root.key"),
	}
	if witness := filepath.Join(dir, "keys", "witness.pem"); exists(witness) || !exists(filepath.Join(dir, "keys")) {
		c.Keys.Witness = witness // directories of earlier versions have none
	}
	if policy := filepath.Join(dir, "witness.policy"); exists(policy) {
		c.Log.WitnessPolicy = policy
	}
	c.Principals = filepath.Join(dir, "principals.json")
	c.PeersDir = filepath.Join(dir, "peers")
	c.Telemetry.Format = "text"
	if s.File == "" {
		if own := filepath.Join(dir, "config.yaml"); exists(own) {
			s.File = own
		}
	}
	if err := c.load(s); err != nil {
		return nil, err
	}
	return c, nil
}

func defaults() *Config {
	return &Config{
		Store:     Store{Engine: "badger"},
		Freshness: Freshness{MaxStale: 60, StatusTTL: 45},
		Log:       Log{Shard: "main", WitnessInterval: 1, Publish: "fail_open"},
		Keys:      Keys{AuditHorizon: 3650},
		Limits:    Limits{Body: 64 << 10, Rate: 200, Statements: 1000, Registration: 10},
		Telemetry: Telemetry{Level: "info", Format: "json"},
	}
}

// Loopback reports whether the server speaks plain HTTP on a loopback address (dev and demo).
func (c *Config) Loopback() bool { return c.loopback }

// LogOrigin is the name of the log: the issuer's host with its path, and the shard.
func (c *Config) LogOrigin() string { return c.ShardOrigin(c.Log.Shard) }

// ShardOrigin is the name of the log of a shard.
func (c *Config) ShardOrigin(shard string) string {
	_, rest, _ := strings.Cut(c.Issuer, "://")
	return strings.TrimSuffix(rest, "/") + "/log/" + shard
}

// WitnessName is the name of this server as a witness: the issuer's host with its path, and "witness".
func (c *Config) WitnessName() string {
	_, rest, _ := strings.Cut(c.Issuer, "://")
	return strings.TrimSuffix(rest, "/") + "/witness"
}

// load merges the sources into c, which holds the defaults, and validates the result.
func (c *Config) load(s Sources) error {
	k := koanf.New(".")
	base := "."
	if s.File != "" {
		if err := k.Load(file.Provider(s.File), yaml.Parser()); err != nil {
			return fmt.Errorf("config: reading %s: %w", s.File, err)
		}
		base = filepath.Dir(s.File)
	}
	if err := k.Load(env.Provider(".", env.Opt{
		Prefix:      EnvPrefix,
		EnvironFunc: func() []string { return s.Environ },
		TransformFunc: func(name, value string) (string, any) {
			name = strings.ToLower(strings.TrimPrefix(name, EnvPrefix))
			return strings.ReplaceAll(name, "__", "."), value
		},
	}), nil); err != nil {
		return fmt.Errorf("config: reading the environment: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Flags)) {
		if err := k.Set(name, s.Flags[name]); err != nil {
			return fmt.Errorf("config: flag %s: %w", name, err)
		}
	}
	if err := c.assign(k.All(), base); err != nil {
		return err
	}
	if c.Issuer == "" && c.loopback {
		c.Issuer = "http://" + c.Listen
	}
	if c.Keys.Ring == "" && c.Store.Dir != "" {
		c.Keys.Ring = filepath.Join(filepath.Dir(c.Store.Dir), "keyring.json")
	}
	if c.Witness.Dir == "" && c.Store.Dir != "" {
		c.Witness.Dir = filepath.Clean(c.Store.Dir) + "-witness"
	}
	return c.check()
}

// assign sets the fields that the flat settings name.
func (c *Config) assign(settings map[string]any, base string) error {
	fields := make(map[string]field)
	collect(reflect.ValueOf(c).Elem(), "", fields)
	var problems []error
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		f, known := fields[key]
		switch what, later := postponed[key]; {
		case later:
			problems = append(problems, fmt.Errorf("config: %s: %s is not available in this version", key, what))
		case !known:
			problems = append(problems, fmt.Errorf("config: %s: no such setting", key))
		default:
			if err := f.set(settings[key], base); err != nil {
				problems = append(problems, fmt.Errorf("config: %s: %w", key, err))
			}
		}
	}
	return errors.Join(problems...)
}

// A field is a setting: a string or an int of Config.
type field struct {
	value reflect.Value
	path  bool
}

// collect adds every setting below v to fields, by dotted key.
func collect(v reflect.Value, prefix string, fields map[string]field) {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		key := sf.Tag.Get("koanf")
		if key == "" {
			continue
		}
		if sf.Type.Kind() == reflect.Struct {
			collect(v.Field(i), prefix+key+".", fields)
			continue
		}
		_, isPath := sf.Tag.Lookup("path")
		fields[prefix+key] = field{value: v.Field(i), path: isPath || prefix == "keys."}
	}
}

// set assigns a value from YAML (string, int, bool, …) or from the environment and flags (string).
func (f field) set(value any, base string) error {
	switch f.value.Kind() {
	case reflect.Int:
		n, ok := value.(int)
		if text, isText := value.(string); isText {
			var err error
			n, err = strconv.Atoi(text)
			ok = err == nil
		}
		if !ok {
			return errors.New("must be a whole number")
		}
		f.value.SetInt(int64(n))
	case reflect.String:
		text, ok := value.(string)
		if n, isInt := value.(int); isInt && !f.path {
			text, ok = strconv.Itoa(n), true
		}
		if !ok {
			return errors.New("must be text")
		}
		if f.path && text != "" && !strings.Contains(text, ":") && !filepath.IsAbs(text) {
			text = filepath.Join(base, text)
		}
		f.value.SetString(text)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// validIssuer reports whether s is an issuer identifier: an https URL (http for a loopback address if allowed) of
// ASCII characters without user, query, fragment, dot segments or a trailing slash.
func validIssuer(s string, loopback bool) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > 512 || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery ||
		u.Fragment != "" || strings.ContainsAny(s, "#\\%") || strings.HasSuffix(s, "/") || u.String() != s {
		return false
	}
	if slices.ContainsFunc([]byte(s), func(b byte) bool { return b <= ' ' || b > '~' }) ||
		strings.ToLower(u.Host) != u.Host || strings.Contains(u.Path, "//") || strings.Contains(u.Path, "/.") {
		return false
	}
	return u.Scheme == "https" || loopback && u.Scheme == "http" && isLoopback(u.Hostname())
}

// validListen reports whether s is host:port with an address, or any address.
func validListen(s string, loopback bool) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return false
	}
	return !loopback || isLoopback(host)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
