package authority

import "context"

// Recover finishes the start: it puts the configured principals in force and replays emergency stops into the log. The
// log must take commits. Until it has returned nil every surface answers unavailable; call it again after an error.
func (a *Authority) Recover(ctx context.Context) error {
	if err := a.setPrincipals(ctx, a.open, a.configured); err != nil {
		return err
	}
	a.recovered.Store(true)
	return nil
}
