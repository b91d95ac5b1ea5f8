package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/mission"
)

// show prints a JSON answer: canonical JSON, one line for each element of a list, or for people a table. list names the
// member that holds the elements, "" if the answer is one object.
func (s *session) show(r *client.Response, list string) error {
	if err := s.checkOutput(); err != nil {
		return err
	}
	if !isJSON(r) {
		return finding("the server answered with %q instead of JSON", mediaType(r))
	}
	return s.showJSON(r.Body, list)
}

func (s *session) showJSON(body []byte, list string) error {
	canonical, err := mission.Canonical(body)
	if err != nil {
		return finding("the answer is not acceptable JSON: %w", err)
	}
	if s.output == "json" || s.output == "ndjson" && list == "" {
		_, err := fmt.Fprintf(s.stdout, "%s\n", canonical)
		return err
	}
	// What is printed was checked by the strict decoder above; from here on it is only displayed.
	var value any
	dec := json.NewDecoder(bytes.NewReader(canonical))
	dec.UseNumber()
	if err := dec.Decode(&value); err != nil {
		return finding("the answer is not JSON: %w", err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return finding("the answer is not a JSON object")
	}
	if list == "" {
		return printObject(s.stdout, object)
	}
	items, ok := object[list].([]any)
	if !ok {
		return finding("the answer has no list %q", list)
	}
	if s.output == "ndjson" {
		return printLines(s.stdout, items)
	}
	return printTable(s.stdout, items)
}

// printLines writes one JSON text a line.
func printLines(w io.Writer, items []any) error {
	for _, item := range items {
		if _, err := fmt.Fprintln(w, cell(item)); err != nil {
			return err
		}
	}
	return nil
}

// printObject writes one member a line.
func printObject(w io.Writer, object map[string]any) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		fmt.Fprintf(tw, "%s\t%s\n", inert(name), cell(object[name]))
	}
	return tw.Flush()
}

// printTable writes one object a line under the names of the members that occur.
func printTable(w io.Writer, items []any) error {
	names := make(map[string]bool)
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			for name := range object {
				names[name] = true
			}
		}
	}
	columns := slices.Sorted(maps.Keys(names))
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if len(columns) > 0 {
		heads := make([]string, len(columns))
		for i, name := range columns {
			heads[i] = strings.ToUpper(inert(name))
		}
		fmt.Fprintln(tw, strings.Join(heads, "\t"))
	}
	for _, item := range items {
		object, _ := item.(map[string]any)
		cells := make([]string, len(columns))
		for i, name := range columns {
			if value, ok := object[name]; ok {
				cells[i] = cell(value)
			}
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}

// printIndented writes checked JSON over several lines, each of them inert.
func printIndented(w io.Writer, text []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return err
	}
	for line := range strings.SplitSeq(b.String(), "\n") {
		if _, err := fmt.Fprintln(w, inert(line)); err != nil {
			return err
		}
	}
	return nil
}

// cell renders a value on one line: text as it is, made inert, anything else as JSON.
func cell(value any) string {
	if text, ok := value.(string); ok {
		return inert(text)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return "?"
	}
	return inert(strings.TrimSpace(b.String()))
}

// inert replaces what could move the cursor, colour the terminal or reorder the line: text of others is shown, not
// obeyed.
func inert(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// save writes octets to a file that does not exist yet, or to standard output for "" and "-".
func (s *session) save(path string, data []byte) error {
	if path == "" || path == "-" {
		_, err := s.stdout.Write(data)
		return err
	}
	if err := writeNew(path, data, 0o644); err != nil {
		return err
	}
	s.note("%s: %d octets", path, len(data))
	return nil
}
