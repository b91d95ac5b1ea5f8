package badgerstore

import (
	"log/slog"
	"strings"
)

// logger passes Badger's warnings and errors on without their arguments: those hold keys.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(format string, _ ...any) {
	l.log.Error("badger", slog.String("format", strings.TrimSpace(format)))
}

func (l logger) Warningf(format string, _ ...any) {
	l.log.Warn("badger", slog.String("format", strings.TrimSpace(format)))
}

func (logger) Infof(string, ...any)  {}
func (logger) Debugf(string, ...any) {}
