package authority

import "time"

// StepClock makes the wall clock run ahead of the monotonic one by d from now on.
func (a *Authority) StepClock(d time.Duration) {
	a.clock.elapsed = func(from, to time.Time) time.Duration { return to.Sub(from) - d }
}

// ForgetAnswers drops what is remembered of status answers.
func (a *Authority) ForgetAnswers() {
	a.answers.mu.Lock()
	defer a.answers.mu.Unlock()
	a.answers.kept = nil
}
