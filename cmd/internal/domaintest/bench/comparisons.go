package main

import (
	"context"
	"fmt"
	"strconv"
)

// comparisons in the order they are printed, by their number in docs/benchmarks.md.
var comparisons = []struct {
	name string
	run  func(*driver, context.Context) error
}{
	{"P1", (*driver).append}, {"P1b", (*driver).floor}, {"P2", (*driver).published}, {"P3", (*driver).openLoop},
	{"P4", (*driver).change}, {"P5", (*driver).registration}, {"P6", (*driver).status}, {"P8", (*driver).proofs}, {"P9", (*driver).growth},
}

// append is P1 and the closed-loop half of P3: appends acknowledged after publication, beside Tessera's best figure,
// which is acknowledged when integrated.
func (d *driver) append(ctx context.Context) error {
	header("P1, P3: append beside Tessera POSIX, acknowledged when integrated (its best options for each count)")
	for _, c := range []struct {
		writers    int
		age        string // Tessera's better batch age at this count
		rate, late string
	}{
		{1, "5ms", ">= 15x", "-"},
		{64, "5ms", ">= 6x", "<= 0.33x"},
		{256, "1s", ">= 3x", "<= 0.5x"},
		{1024, "1s", ">= 4x", "<= 1x"},
	} {
		w := strconv.Itoa(c.writers)
		ours, theirs, noisy, err := d.compare(ctx, as("append", "-writers", w),
			as("tessera", "-writers", w, "-age", c.age))
		if err != nil {
			return err
		}
		row("P1 appends, "+w+" writers", c.rate, ours, theirs, rate, "/s", noisy)
		row("P3 p99, "+w+" writers", c.late, ours, theirs, p99, "ms", noisy)
	}
	return nil
}

// floor is P1b: one writer beside the Postgres chain table and beside the bare file.
func (d *driver) floor(ctx context.Context) error {
	header("P1b: append at 1 writer beside a hash-chain table and a bare preallocated file")
	ours, raw, noisy, err := d.compare(ctx, as("append"), as("raw"))
	if err != nil {
		return err
	}
	row("p50 beside pwrite + fdatasync of as many bytes", "<= 2x", ours, raw, p50, "ms", noisy)
	if _, err := postgresBin(); err != nil {
		return fmt.Errorf("%w: %w", errLeftOut, err)
	}
	ours, chain, noisy, err := d.compare(ctx, as("append"), as("postgres"))
	if err != nil {
		return err
	}
	row("appends beside the chain table", ">= 0.7x", ours, chain, rate, "/s", noisy)
	return nil
}

// openLoop is the other half of P3.
func (d *driver) openLoop(ctx context.Context) error {
	header("P3: 1,000 appends a second offered (Poisson), latency from the scheduled arrival")
	offered := []string{"-writers", "64", "-rate", "1000"}
	ours, theirs, noisy, err := d.compare(ctx, as("append", offered...),
		as("tessera", append(offered, "-age", "5ms")...))
	if err != nil {
		return err
	}
	row("p50", "-", ours, theirs, p50, "ms", noisy)
	row("p99", "<= 10 ms", ours, theirs, p99, "ms", noisy)
	return nil
}

// change is P4: a mission change beside a bare program that makes the same signatures.
func (d *driver) change(ctx context.Context) error {
	header("P4: mission change (decide, sign evidence and answer, commit), 64 writers, beside the same signatures alone")
	ours, bare, noisy, err := d.compare(ctx, as("change", "-writers", "64"), as("change-bare", "-writers", "64"))
	if err != nil {
		return err
	}
	row("changes", ">= 0.60x", ours, bare, rate, "/s", noisy)
	return nil
}

// status is P6: signed status over HTTP beside bare handlers with the same caller authentication.
func (d *driver) status(ctx context.Context) error {
	header("P6: signed status over HTTP, 64 connections, beside a bare handler with the same caller authentication")
	for _, c := range []struct{ name, ours, bare, target string }{
		{"signed per request, beside a bare signature", "status", "status-bare-signed", ">= 0.75x"},
		{"signed per request, beside a fixed answer", "status", "status-bare", "(>= 0.85x for the cached answer)"},
	} {
		ours, bare, noisy, err := d.compare(ctx, as(c.ours, "-writers", "64"), as(c.bare, "-writers", "64"))
		if err != nil {
			return err
		}
		row(c.name, c.target, ours, bare, rate, "/s", noisy)
		row(c.name+": server CPU a request", "-", ours, bare, serverCPU, "us", noisy)
	}
	return nil
}
