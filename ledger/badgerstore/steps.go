package badgerstore

import "github.com/mission-authority/mas/ledger/durable"

// The durable steps of a store, beside those of its journal.
var (
	stepState     = durable.Register("store.state", "the state file says what recovery has to know")
	stepStateFile = durable.Register("store.state-file", "the state file has its name")
	stepApply     = durable.Register("store.apply", "the view shows a durable commit group")
	stepFlush     = durable.Register("store.flush", "the logs of the view are on the disk")
	stepClose     = durable.Register("store.close", "the view is on the disk and closed")
	stepCut       = durable.Register("store.cut", "a log of the view ends where it can be read")
	stepReplace   = durable.Register("store.replace", "a damaged view is set aside and a new one can be made")
	stepAside     = durable.Register("store.aside", "what recovery is about to change is copied as it was found")
	stepBallast   = durable.Register("store.ballast", "the ballast takes up its space")
	stepDrop      = durable.Register("store.ballast-drop", "the space of the ballast is free")

	stepKeyFile   = durable.Register("shred.file", "the key file is there whole")
	stepKeys      = durable.Register("shred.keys", "the next keys of bodies survive a crash before one of them is used")
	stepErasures  = durable.Register("shred.erasures", "the erasure journal has its name")
	stepErasure   = durable.Register("shred.erasure", "an erasure is recorded, so that a restore repeats it")
	stepErase     = durable.Register("shred.erase", "a body's key is overwritten")
	stepEraseMore = durable.Register("shred.erase-again", "what was recorded as erased and was still there is overwritten")

	stepStop = durable.Register("stops.frame", "an emergency stop, or that it was replayed, survives a crash")
)
