package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A namedTest is a test that names rows.
type namedTest struct {
	dir     string // of its package, below the root
	fn      string
	rows    []int
	asserts bool
}

func (t namedTest) name() string { return t.dir + "." + t.fn }

var rowsLine = regexp.MustCompile(`(?m)^Audit rows: ([0-9]+(?:, [0-9]+)*)\.$`)

// A function is what assertions are followed through: whether it can fail a test itself, and what it calls.
type function struct {
	asserts bool
	near    []string // "dir.name" of all calls, in case they are of the same package
	handed  []string // bare names of functions and methods that are handed the test
}

// A table of functions by "dir.name" and by bare name. Of several with one name, one that asserts is enough.
type table map[string]*function

func (t table) add(key string, f *function) {
	if t[key] == nil {
		t[key] = new(function)
	}
	have := t[key]
	have.asserts = have.asserts || f.asserts
	have.near, have.handed = append(have.near, f.near...), append(have.handed, f.handed...)
}

// asserts reports whether f can fail a test as far as is known.
func (t table) asserts(f *function) bool {
	known := func(name string) bool { return t[name] != nil && t[name].asserts }
	return f.asserts || slices.ContainsFunc(f.near, known) || slices.ContainsFunc(f.handed, known)
}

// spread marks every function that calls one that asserts, until nothing changes.
func (t table) spread() {
	for changed := true; changed; {
		changed = false
		for _, f := range t {
			if !f.asserts && t.asserts(f) {
				f.asserts, changed = true, true
			}
		}
	}
}

// failing are the methods of testing.T, B and F that make a test fail. Fuzz and Run are followed into their bodies.
var failing = []string{"Error", "Errorf", "Fatal", "Fatalf", "Fail", "FailNow"}

// asserting are functions of other modules that fail the test they are given.
var asserting = []string{"testscript.Run", "rapid.Check"}

// namedTests finds the tests below root that name rows, and whether each can fail at all: it, or a function of this
// repository that it calls, calls one of the failing methods.
func namedTests(root string) ([]namedTest, error) {
	files, err := goFiles(root)
	if err != nil {
		return nil, err
	}
	functions := make(table)
	var tests []namedTest
	bodies := make(map[string]*function)
	set := token.NewFileSet()
	for _, path := range files {
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			dir := filepath.ToSlash(filepath.Dir(path))
			body := inspect(fn, dir)
			if isTest := strings.HasSuffix(path, "_test.go") && fn.Recv == nil && isTestName(fn.Name.Name); isTest {
				t := namedTest{dir: dir, fn: fn.Name.Name}
				if t.rows, err = rowsOf(fn); err != nil {
					return nil, fmt.Errorf("%s: %s: %w", path, t.fn, err)
				}
				if len(t.rows) > 0 {
					bodies[t.name()] = body
					tests = append(tests, t)
				}
				continue
			}
			functions.add(dir+"."+fn.Name.Name, body)
			functions.add(fn.Name.Name, body)
		}
	}
	functions.spread()
	for i := range tests {
		tests[i].asserts = functions.asserts(bodies[tests[i].name()])
	}
	return tests, nil
}

func isTestName(name string) bool {
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz")
}

func rowsOf(fn *ast.FuncDecl) ([]int, error) {
	text := fn.Doc.Text()
	m := rowsLine.FindStringSubmatch(text)
	if m == nil {
		if strings.Contains(text, "Audit row") {
			return nil, fmt.Errorf("the comment names rows in a form that is not understood")
		}
		return nil, nil
	}
	var rows []int
	for n := range strings.SplitSeq(m[1], ", ") {
		row, err := strconv.Atoi(n)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// inspect looks at one body in the package dir, the function literals in it included.
func inspect(fn *ast.FuncDecl, dir string) *function {
	out := new(function)
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			name = f.Sel.Name
			x, _ := f.X.(*ast.Ident)
			if x != nil && slices.Contains(asserting, x.Name+"."+name) || slices.Contains(failing, name) && isTesting(f.X) {
				out.asserts = true
			}
		}
		if name != "" {
			out.near = append(out.near, dir+"."+name)
			if slices.ContainsFunc(call.Args, isTesting) {
				out.handed = append(out.handed, name)
			}
		}
		return true
	})
	return out
}

// isTesting reports whether an expression looks like the test itself: t, b, f, tb, or a field of that name.
func isTesting(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	return slices.Contains([]string{"t", "b", "f", "tb", "T", "TB"}, name)
}
