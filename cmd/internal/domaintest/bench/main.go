// Command bench measures the log beside what else could hold it: Tessera's POSIX log, a hash chain in PostgreSQL, a
// bare preallocated file, and bare programs that make the same signatures.
//
// Every measurement is a ratio from one interleaved run: each subject runs as a process of its own in a fresh directory
// with equal GOMAXPROCS and GOGC, in A-B-B-A order, and the medians of the pairs are compared. A pair during which
// other processes used more than 0.2 core is measured again, and the run says so if it could not be avoided. Nothing
// here passes or fails on time; the targets stand in docs/benchmarks.md.
//
//	bench [-pairs N] [-seconds S] [-only P1,P1b,…]   runs the comparisons and prints Markdown
//	bench child SUBJECT [flags]                       runs one subject once and prints one JSON line
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "child" {
		return child(ctx, args[1:])
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	pairs := flags.Int("pairs", 5, "pairs of each comparison")
	seconds := flags.Float64("seconds", 2.5, "measured seconds of one run")
	only := flags.String("only", "", "comma-separated comparisons; empty: all")
	entries := flags.Int("entries", 10_000_000, "entries of the growth run (P9 to P13)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	d := &driver{pairs: *pairs, length: time.Duration(*seconds * float64(time.Second)), entries: *entries}
	return d.run(ctx, strings.FieldsFunc(*only, func(r rune) bool { return r == ',' }))
}

// child runs one subject in this process.
func child(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("child: no subject")
	}
	subject, ok := subjects[args[0]]
	if !ok {
		return fmt.Errorf("child: no subject %q", args[0])
	}
	flags := flag.NewFlagSet("child", flag.ContinueOnError)
	var s setup
	flags.StringVar(&s.Dir, "dir", "", "fresh directory")
	flags.IntVar(&s.Writers, "writers", 1, "concurrent writers")
	flags.DurationVar(&s.Length, "length", time.Second, "measured time")
	flags.IntVar(&s.Batch, "batch", 256, "Tessera: batch size")
	flags.DurationVar(&s.Age, "age", 5*time.Millisecond, "Tessera: batch age")
	flags.Float64Var(&s.Rate, "rate", 0, "open loop: operations offered per second; 0: closed loop")
	flags.IntVar(&s.Entries, "entries", 0, "entries to write")
	profile := flags.String("cpuprofile", "", "file for a profile of the processor time")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	m, err := subject(ctx, s)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}
