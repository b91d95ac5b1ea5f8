package sequencer

import (
	"context"
	"fmt"

	"github.com/mission-authority/mas/ledger"
)

// CodeLogFrozen is the code of the write latch of a log that was closed by its last entry. It is no failure, and stays
// for ever: a successor continues the log.
const CodeLogFrozen = "log_frozen"

// ErrFrozen: the log takes no more entries. It comes with ledger.ErrUnavailable.
var ErrFrozen = ledger.ErrFrozen

// Freeze commits the entry that closes the log, with a body that is a ledger.LogClosed, as its last one. Changes that
// waited before it are committed, all others refused with ErrFrozen. The final checkpoint is that of the view from then
// on.
func (l *Log) Freeze(ctx context.Context, closing ledger.Entry) (ledger.Committed, error) {
	if err := l.takesWrites(); err != nil {
		return ledger.Committed{}, err
	}
	st, err := ledger.ParseStatement(closing.Statement)
	if err != nil {
		return ledger.Committed{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := ledger.ParseLogClosed(closing.Body); err != nil || st.ContentType != ledger.ContentTypeLogClosed {
		return ledger.Committed{}, fmt.Errorf("%w: not what closes a log: %w", ErrInvalid, err)
	}
	p, err := l.lookUp(&pending{
		change: ledger.Change{Entries: []ledger.Entry{closing}}, freezes: true, done: make(chan outcome, 1),
	})
	if err != nil {
		return ledger.Committed{}, err
	}
	if err := l.queue.put(p); err != nil {
		return ledger.Committed{}, err
	}
	return (<-p.done).committed() // it is not withdrawn: nobody could say whether the log is closed
}

// mayClose refuses an entry that would close the log from everybody but Freeze: whoever may register evidence may not
// close the log with it.
func (p *pending) mayClose(st *ledger.Statement) error {
	if st.ContentType == ledger.ContentTypeLogClosed && !p.freezes {
		return fmt.Errorf("%w: only freezing a log closes it", ErrInvalid)
	}
	return nil
}

// recheckFrozen closes the write latch if the last entry closes the log.
func (v *view) recheckFrozen() error {
	if v.head.Size == 0 {
		return nil
	}
	e, err := v.Entry(v.head.Size - 1)
	if err != nil {
		return err
	}
	st, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return v.log.damaged(CodeEntryMismatch, "entry %d: %v", e.Index, err)
	}
	if st.ContentType == ledger.ContentTypeLogClosed {
		v.log.closeWrite(CodeLogFrozen)
	}
	return nil
}
