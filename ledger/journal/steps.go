package journal

import "github.com/mission-authority/mas/ledger/durable"

// The durable steps of a journal.
var (
	stepFrame   = durable.Register("journal.frame", "a frame survives a crash, and with it the commit group in it")
	stepAhead   = durable.Register("journal.ahead", "the next segment is allocated and holds zeros")
	stepBlank   = durable.Register("journal.blank", "a segment allocated ahead has no header that was not published")
	stepSegment = durable.Register("journal.segment", "a new segment has its header and its name")
	stepPack    = durable.Register("journal.pack", "the compressed copy of a sealed segment is there whole")
	stepDrop    = durable.Register("journal.drop", "the original of a compressed segment is gone")
	stepAside   = durable.Register("journal.aside", "a segment that is about to be repaired is copied as it was found")
	stepRepair  = durable.Register("journal.repair", "a frame that a crash cut short is gone, and zeros follow the last one")
	stepRewrite = durable.Register("journal.rewrite", "the last frame that was read is on the disk")
)

// frame is the step that appending is.
func (o Options) frame() durable.Step {
	if o.Frame.Name() == "" {
		return stepFrame
	}
	return o.Frame
}
