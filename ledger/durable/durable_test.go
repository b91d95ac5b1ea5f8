package durable

import (
	"errors"
	"testing"
)

func TestStepRunsThroughTheInterceptor(t *testing.T) {
	step := Register("test.step", "a test ran")
	ran := 0
	do := func() error { return step.Do(func() error { ran++; return nil }) }
	if err := do(); err != nil || ran != 1 {
		t.Fatalf("without an interceptor: %v, ran %d times", err, ran)
	}
	broken := errors.New("broken")
	var seen string
	restore := Intercept(func(name string, _ func() error) error { seen = name; return broken })
	if err := do(); !errors.Is(err, broken) || ran != 1 || seen != step.Name() {
		t.Fatalf("with an interceptor: %v, ran %d times, saw %q", err, ran, seen)
	}
	restore()
	if err := do(); err != nil || ran != 2 {
		t.Fatalf("after restore: %v, ran %d times", err, ran)
	}
}

func TestRegisterRefusesMistakes(t *testing.T) {
	Register("test.once", "registered once")
	for _, name := range []string{"test.once", "noarea", "Test.upper", "test.", "test.a_b"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("step %q was accepted", name)
				}
			}()
			Register(name, "anything")
		}()
	}
	names := make(map[string]bool)
	for _, s := range Steps() {
		names[s.Name] = true
	}
	if !names["test.once"] || names["noarea"] {
		t.Errorf("steps: %v", names)
	}
}
