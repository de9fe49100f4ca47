package approvals

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// ownClock are the functions by which a program reads the clock of its own machine.
var ownClock = map[string]bool{"Now": true, "Since": true, "Until": true}

// startOfTransaction is SQL that reads a clock which stands still while a transaction waits for a lock.
var startOfTransaction = regexp.MustCompile(`(?i)\b(now|transaction_timestamp|statement_timestamp)\s*\(\s*\)|\bcurrent_(timestamp|time|date)\b|\blocaltime(stamp)?\b`)

// TestExpiryReadsNoClock: nothing in this package can be fooled by the clock of the machine it runs on, since it never
// reads it, nor by a transaction that waited.
func TestExpiryReadsNoClock(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".go") && !strings.HasSuffix(e.Name(), "_test.go") {
			read++
			for _, at := range clocksIn(t, e.Name(), nil) {
				t.Error(at)
			}
		}
	}
	if read < 10 {
		t.Errorf("only %d files were read", read)
	}
	bad := "package p\nimport \"time\"\nvar a, b = time.Now(), \"select 1 where expires_at > now()\"\n"
	if got := clocksIn(t, "bad.go", bad); len(got) != 2 {
		t.Errorf("two clocks are read, found were %q", got)
	}
}

// clocksIn tells where a file reads a clock that it should not.
func clocksIn(t *testing.T, name string, source any) (found []string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && ownClock[n.Sel.Name] {
				found = append(found, files.Position(n.Pos()).String()+": time."+n.Sel.Name+" is the clock of this machine; ask the database")
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING && startOfTransaction.MatchString(n.Value) {
				found = append(found, files.Position(n.Pos()).String()+": this clock stands still in a transaction; use clock_timestamp()")
			}
		}
		return true
	})
	return found
}
