// Command acceptance keeps the acceptance list of the ledger honest.
//
// rows.json lists what has to hold. A test names the rows it shows in a line of its doc comment:
//
//	// Audit rows: 74, 76.
//
// Usage:
//
//	acceptance run NAME [arguments of go test]   runs go test, shows what failed, keeps the results as NAME
//	acceptance check [-write]                    holds the list against the tests and the kept results
//
// check fails if a named test asserts nothing, did not run, was skipped (it or a part of it) or failed, if a row is
// neither shown by a test nor explained, or if docs/acceptance.md is not what it would write.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	rowsFile    = ".ci/acceptance/rows.json"
	resultsDir  = "build/results"
	tableFile   = "docs/acceptance.md"
	notDone     = "not done"
	notForThis  = "not applicable"
	exitFinding = 1
	exitUsage   = 3
)

// A row is one line of the acceptance list.
type row struct {
	Row     int    `json:"row"`
	Section string `json:"section"`
	Says    string `json:"says"`
	Status  string `json:"status,omitempty"` // "not done" or "not applicable", if no test shows the row
	Why     string `json:"why,omitempty"`    // required then; otherwise what a reader should know
}

func main() {
	args := os.Args[1:]
	var err error
	switch {
	case len(args) >= 3 && args[0] == "run":
		err = run(args[1], args[2:])
	case len(args) >= 1 && args[0] == "check":
		err = check(slices.Contains(args[1:], "-write"))
	default:
		fmt.Fprintln(os.Stderr, "usage: acceptance run NAME ARGUMENTS… | acceptance check [-write]")
		os.Exit(exitUsage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFinding)
	}
}

func readRows() ([]row, error) {
	data, err := os.ReadFile(rowsFile)
	if err != nil {
		return nil, err
	}
	var rows []row
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w", rowsFile, err)
	}
	for i, r := range rows {
		switch {
		case i > 0 && rows[i-1].Row >= r.Row:
			return nil, fmt.Errorf("%s: row %d is out of order", rowsFile, r.Row)
		case r.Status != "" && r.Status != notDone && r.Status != notForThis:
			return nil, fmt.Errorf("%s: row %d: status %q", rowsFile, r.Row, r.Status)
		case r.Status != "" && r.Why == "":
			return nil, fmt.Errorf("%s: row %d is %s: why?", rowsFile, r.Row, r.Status)
		}
	}
	return rows, nil
}

// check holds rows, tests, results and table against each other.
func check(write bool) error {
	rows, err := readRows()
	if err != nil {
		return err
	}
	tests, err := namedTests(".")
	if err != nil {
		return err
	}
	results, err := readResults()
	if err != nil {
		return err
	}
	var problems []error
	shown := make(map[int][]string)
	for _, t := range tests {
		for _, n := range t.rows {
			shown[n] = append(shown[n], t.name())
			if !slices.ContainsFunc(rows, func(r row) bool { return r.Row == n }) {
				problems = append(problems, fmt.Errorf("%s names row %d, which is not on the list", t.name(), n))
			}
		}
		if !t.asserts {
			problems = append(problems, fmt.Errorf("%s asserts nothing", t.name()))
		}
		if err := results.of(t); err != nil {
			problems = append(problems, err)
		}
	}
	done := 0
	for _, r := range rows {
		switch n := len(shown[r.Row]); {
		case n > 0 && r.Status != "":
			problems = append(problems, fmt.Errorf("row %d is %s, but %s shows it", r.Row, r.Status, shown[r.Row][0]))
		case n > 0:
			done++
		case r.Status == "":
			problems = append(problems, fmt.Errorf("row %d (%s) is shown by no test and not explained", r.Row, r.Says))
		}
	}
	table := render(rows, shown)
	if write {
		if err := os.WriteFile(tableFile, table, 0o644); err != nil {
			return err
		}
	} else if have, err := os.ReadFile(tableFile); err != nil || string(have) != string(table) {
		problems = append(problems, fmt.Errorf("%s is not up to date: go run ./.ci/acceptance check -write", tableFile))
	}
	fmt.Printf("acceptance: %d rows, %d shown by %d tests\n", len(rows), done, len(tests))
	return errors.Join(problems...)
}

// render writes the table.
func render(rows []row, shown map[int][]string) []byte {
	count := map[string]int{}
	for _, r := range rows {
		if len(shown[r.Row]) > 0 {
			count["done"]++
		} else {
			count[r.Status]++
		}
	}
	var b strings.Builder
	b.WriteString("# Acceptance\n\n" +
		"What the ledger has to show, and the test that shows it. Made by `go run ./.ci/acceptance check -write` from\n" +
		"`.ci/acceptance/rows.json` and the tests, each of which names its rows in its comment; `make test` fails if a named\n" +
		"test is missing, skipped, failed or asserts nothing, and if this table is not current.\n\n")
	fmt.Fprintf(&b, "%d rows: %d done, %d not applicable, %d not done.\n\n", len(rows), count["done"], count[notForThis],
		count[notDone])
	b.WriteString("| row | what | status | shown by, or why not |\n|---|---|---|---|\n")
	for _, r := range rows {
		status, by := "done", r.Status
		if tests := shown[r.Row]; len(tests) > 0 {
			slices.Sort(tests)
			by = "`" + strings.Join(slices.Compact(tests), "`, `") + "`"
			if r.Why != "" {
				by += "; " + r.Why
			}
		} else {
			status, by = r.Status, r.Why
		}
		fmt.Fprintf(&b, "| %s %d | %s | %s | %s |\n", r.Section, r.Row, r.Says, status, by)
	}
	return []byte(b.String())
}

// goFiles lists the Go files below root that belong to the repository.
func goFiles(root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" ||
			name == "build" || name == "bin" || name == "data") {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, ".go") {
			files = append(files, path)
		}
		return nil
	})
	return files, err
}
