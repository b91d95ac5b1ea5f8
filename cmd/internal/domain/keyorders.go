package domain

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/mission/authority"
)

// A KeyOrder is what administrators order about the keys of a server. It takes effect when the key ring has been
// replaced; the server acts on it when it starts next.
type KeyOrder struct {
	Config *config.Config
	By     []string // ids of two administrators
	To     string   // reference of the new key; empty: a fresh key in a file beside the old one
	At     time.Time
}

// change checks who orders. A development directory has one administrator: there any other principal is the second.
func (o KeyOrder) change() (c keys.Change, err error) {
	if len(o.By) != 2 || o.By[0] == o.By[1] {
		return c, errors.New("an order about keys needs two administrators: --by ID --by ID")
	}
	principals, err := readPrincipals(o.Config.Principals)
	if err != nil {
		return c, err
	}
	admins := 0
	for _, id := range o.By {
		p, ok := principals.ByID(id)
		if !ok {
			return c, fmt.Errorf("there is no principal %q", id)
		}
		if p.Has(authority.RoleAdmin) {
			admins++
		}
	}
	if admins < 2 && !o.Config.Loopback() || admins == 0 {
		return c, errors.New("an order about keys needs two principals with the role admin")
	}
	return keys.Change{Issuer: o.Config.Issuer, Origin: o.Config.LogOrigin(), At: o.At.Unix(), By: [2]string(o.By)}, nil
}

// passphrase reads the passphrase of the PEM files.
func (o KeyOrder) passphrase() ([]byte, error) {
	if source := o.Config.Keys.PassphraseFile; source != "" {
		return keys.ReadPassphrase(source)
	}
	return nil, nil
}

// newKey opens the new key of a role, or makes one.
func (o KeyOrder) newKey(role keys.Role) (*keys.Key, string, error) {
	passphrase, err := o.passphrase()
	if err != nil {
		return nil, "", err
	}
	ref := o.To
	if ref == "" {
		if ref, err = keys.GenerateOne(filepath.Dir(o.Config.Keys.Root), role, passphrase); err != nil {
			return nil, "", err
		}
	} else if !strings.Contains(ref, ":") {
		if ref, err = filepath.Abs(ref); err != nil {
			return nil, "", err
		}
	}
	k, err := keys.OpenNew(role, ref, passphrase)
	return k, ref, err
}

// ring is the key ring as it is kept, or that of keys which have never changed.
func (o KeyOrder) ring() (*keys.Ring, error) {
	ring, err := keys.ReadRing(o.Config.Keys.Ring)
	if err != nil || ring != nil {
		return ring, err
	}
	set, err := loadKeys(o.Config)
	if err != nil {
		return nil, err
	}
	return set.Ring(), nil
}

// keep replaces the ring.
func (o KeyOrder) keep(ring *keys.Ring, err error) (*keys.Ring, error) {
	if err != nil {
		return nil, err
	}
	return ring, keys.WriteRing(o.Config.Keys.Ring, ring)
}

// Ring is the key ring as it is kept.
func (o KeyOrder) Ring() (*keys.Ring, error) { return o.ring() }

// Rotate begins an overlap.
func (o KeyOrder) Rotate(ctx context.Context, role keys.Role) (*keys.Ring, error) {
	c, err := o.change()
	if err != nil {
		return nil, err
	}
	set, err := loadKeys(o.Config)
	if err != nil {
		return nil, err
	}
	if set.Key(role) == nil {
		return nil, fmt.Errorf("there is no %s key to rotate", role)
	}
	if set.Next(role) != nil {
		return nil, fmt.Errorf("%s: an overlap has begun already: end it with mas keys retire", role)
	}
	k, ref, err := o.newKey(role)
	if err != nil {
		return nil, err
	}
	return o.keep(set.Rotate(ctx, c, role, k, ref))
}

// Retire ends an overlap.
func (o KeyOrder) Retire(role keys.Role) (*keys.Ring, error) {
	c, err := o.change()
	if err != nil {
		return nil, err
	}
	ring, err := o.ring()
	if err != nil {
		return nil, err
	}
	return o.keep(ring.Retire(c, role))
}

// Compromise withdraws the key with this thumbprint; somebody else may have signed with it since boundary (zero:
// nobody knows since when).
func (o KeyOrder) Compromise(ctx context.Context, kid []byte, boundary time.Time) (*keys.Ring, error) {
	c, err := o.change()
	if err != nil {
		return nil, err
	}
	ring, err := o.ring()
	if err != nil {
		return nil, err
	}
	role, needed, err := ring.Replaceable(kid)
	if err != nil {
		return nil, err
	}
	since := int64(0)
	if !boundary.IsZero() {
		since = boundary.Unix()
	}
	var k *keys.Key
	ref := ""
	if needed {
		if k, ref, err = o.newKey(role); err != nil {
			return nil, err
		}
	}
	return o.keep(ring.Compromise(ctx, c, kid, since, k, ref))
}

// Lose gives up the active key of a role that nobody can use any more.
func (o KeyOrder) Lose(ctx context.Context, role keys.Role) (*keys.Ring, error) {
	c, err := o.change()
	if err != nil {
		return nil, err
	}
	ring, err := o.ring()
	if err != nil {
		return nil, fmt.Errorf("without a key ring nothing says which key was lost: %w", err)
	}
	active, next := ring.Current(role)
	if active == nil {
		return nil, fmt.Errorf("there is no %s key", role)
	}
	var k *keys.Key
	ref := ""
	if next == nil {
		// What the log admits is signed by an evidence key that it admits: without one the log is at its end.
		if role == keys.Evidence {
			return nil, errors.New("the evidence key is lost and no overlap had begun: nothing can admit another one; " +
				"close this log and go on in a successor (docs/keys.md)")
		}
		if k, ref, err = o.newKey(role); err != nil {
			return nil, err
		}
	}
	return o.keep(ring.Lose(ctx, c, role, k, ref))
}
