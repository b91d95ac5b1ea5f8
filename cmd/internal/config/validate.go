package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/go-playground/validator/v10"
)

// shardName is what may stand in the path of the log.
var shardName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// check validates c and reports every problem with the key that a person would edit.
func (c *Config) check() error {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string { return f.Tag.Get("koanf") })
	custom := map[string]func(string) bool{
		"issuer": func(s string) bool { return validIssuer(s, c.loopback) },
		"listen": func(s string) bool { return validListen(s, c.loopback) },
		"shard":  shardName.MatchString,
	}
	for name, valid := range custom {
		if err := v.RegisterValidation(name, func(f validator.FieldLevel) bool { return valid(f.Field().String()) }); err != nil {
			return fmt.Errorf("config: rule %s: %w", name, err)
		}
	}

	var problems []error
	var invalid validator.ValidationErrors
	if err := v.Struct(c); errors.As(err, &invalid) {
		for _, f := range invalid {
			problems = append(problems, fmt.Errorf("config: %s: %s", key(f), c.message(f)))
		}
	} else if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if !c.loopback {
		problems = append(problems, c.checkServe()...)
	}
	problems = append(problems, c.checkKeysDiffer()...)
	problems = append(problems, c.checkWitnesses()...)
	return errors.Join(problems...)
}

// checkServe adds what only a production server needs.
func (c *Config) checkServe() []error {
	var problems []error
	if c.TLS.Cert == "" && c.TLS.Key == "" {
		problems = append(problems, errors.New("config: tls: cert and key are required (plain HTTP is for mas dev)"))
	}
	if c.Keys.PassphraseFile == "" {
		problems = append(problems, errors.New("config: keys.passphrase_file: is required"))
	}
	return problems
}

// checkWitnesses refuses what waits for witnesses that are not there.
func (c *Config) checkWitnesses() []error {
	var problems []error
	if c.Log.Publish == "fail_closed" && c.Log.WitnessPolicy == "" {
		problems = append(problems, errors.New("config: log.publish: fail_closed needs log.witness_policy"))
	}
	if c.Witness.Logs != "" && c.Keys.Witness == "" {
		problems = append(problems, errors.New("config: witness.logs: needs keys.witness"))
	}
	return problems
}

// checkKeysDiffer refuses one file for two keys; keys.Load refuses one key in two files.
func (c *Config) checkKeysDiffer() []error {
	var problems []error
	refs := []string{c.Keys.Checkpoint, c.Keys.Receipts, c.Keys.Issuer, c.Keys.Evidence, c.Keys.Governance, c.Keys.Witness,
		c.Keys.Root}
	for i, ref := range refs {
		if ref != "" && slices.ContainsFunc(refs[:i], func(o string) bool { return filepath.Clean(o) == filepath.Clean(ref) }) {
			problems = append(problems, fmt.Errorf("config: keys: %s is named for two keys", ref))
		}
	}
	return problems
}

// key is the dotted key of a validation error.
func key(f validator.FieldError) string {
	_, rest, _ := strings.Cut(f.Namespace(), ".")
	return rest
}

// message says what a setting must be.
func (c *Config) message(f validator.FieldError) string {
	switch f.Tag() {
	case "required":
		return "is required"
	case "required_with":
		return "is required together with " + strings.ToLower(f.Param())
	case "oneof":
		return "must be one of: " + strings.ReplaceAll(f.Param(), " ", ", ")
	case "min":
		return "must be at least " + f.Param()
	case "max":
		return "must be at most " + f.Param()
	case "ltefield":
		return "must not be greater than max_stale_seconds"
	case "issuer":
		if c.loopback {
			return "must be a URL on this machine, such as http://127.0.0.1:8420, without query, fragment or final slash"
		}
		return "must be an https URL in lower case without user, query, fragment or final slash"
	case "listen":
		if c.loopback {
			return "must be an address of this machine and a port, such as 127.0.0.1:8420"
		}
		return "must be an address and a port, such as 0.0.0.0:8420"
	case "shard":
		return "must be lower-case letters, digits and hyphens, at most 32"
	}
	return "is not valid (" + f.Tag() + ")"
}
