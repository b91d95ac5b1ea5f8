package main

import (
	"context"
	"crypto/rand"
	"io"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"
)

func init() {
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	subjects["tessera"] = func(ctx context.Context, s setup) (measured, error) { return appendTessera(ctx, s, false) }
	subjects["tessera-published"] = func(ctx context.Context, s setup) (measured, error) {
		return appendTessera(ctx, s, true)
	}
}

// entrySize is the size of what every log appends.
const entrySize = 300

// appendTessera appends to a POSIX log. An append is done when its entry is integrated, which is Tessera's best figure,
// or when a published checkpoint covers it.
func appendTessera(ctx context.Context, s setup, published bool) (measured, error) {
	driver, err := posix.New(ctx, posix.Config{Path: s.Dir})
	if err != nil {
		return measured{}, err
	}
	private, _, err := note.GenerateKey(rand.Reader, "bench.example/log")
	if err != nil {
		return measured{}, err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return measured{}, err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(100*time.Millisecond).
		WithBatching(uint(s.Batch), s.Age).
		WithPushback(uint(4 * max(s.Writers, 1024)))
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return measured{}, err
	}
	await := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 10*time.Millisecond)
	m, err := load(ctx, s, func(ctx context.Context, _, _ int) error {
		entry := make([]byte, entrySize)
		rand.Read(entry)
		future := appender.Add(ctx, tessera.NewEntry(entry))
		if published {
			_, _, err := await.Await(ctx, future)
			return err
		}
		_, err := future()
		return err
	})
	if err != nil {
		return m, err
	}
	stop, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return m, shutdown(stop)
}
