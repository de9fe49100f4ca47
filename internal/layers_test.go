// Package internal holds the test of the layers: which package may know which.
package internal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "countersign"

// layers is the table of the design. A package imports only packages of a lower layer; one that is not
// here fails the test, so that a new package gets its place when it is made.
var layers = map[string]int{
	"internal/problem":           -1, // kinds of errors: even identity refuses with them
	"migrations":                 0,
	"identity":                   0,
	"canonical":                  0,
	"internal/seal":              0,
	"internal/egress":            0,
	"internal/room":              0,
	"internal/secret":            0,
	"internal/browsertest":       0,
	"internal/opatest":           0,
	"internal/nodetest":          0,
	"internal/pythontest":        0,
	"internal/testsummary":       0,
	"web/internal/sprite":        0,
	"policy":                     1,
	"internal/schemadiff":        1,
	"internal/cleanse":           1,
	"internal/postgres":          1,
	"internal/devidp":            1,
	"internal/orders":            1,
	"client":                     2,
	"desired":                    2,
	"audit":                      2,
	"internal/pgtest":            2,
	"internal/devidp/devidptest": 2,
	"gateway":                    3,
	"internal/bridge":            4,
	"registry":                   3,
	"approvals":                  3,
	"notify":                     3,
	"auth":                       3,
	"delivery":                   4,
	"usage":                      4,
	"web":                        5,
	"server":                     6,
	"cmd/countersign":            7,
	"bench":                      7, // runs go test; its tests run a control plane
	"examples/embedded/go":       7, // its tests run a control plane
	"docs":                       0, // only a test
	"deploy":                     8, // only a test
}

// testKits are for tests: those of any package may import them, and nothing else may.
var testKits = []string{"internal/pgtest", "internal/devidp/devidptest", "internal/browsertest", "internal/opatest", "internal/nodetest", "internal/pythontest"}

// Modules that a rule below names.
const (
	echo       = "github.com/labstack/echo/v4"
	pgx        = "github.com/jackc/pgx/v5"
	mcp        = "github.com/modelcontextprotocol/go-sdk"
	templ      = "github.com/a-h/templ"
	jose       = "github.com/go-jose/go-jose/v4"
	jcs        = "github.com/gowebpki/jcs"
	cel        = "cel.dev/cel-go"
	oldCEL     = "github.com/google/cel-go"
	jsonschema = "github.com/santhosh-tekuri/jsonschema/v6"
	keyring    = "github.com/zalando/go-keyring"
	goyaml     = "github.com/goccy/go-yaml"
)

// knows lists all that a package may import beside the standard library. A package without an entry is
// held only by its layer and by confined.
var knows = map[string][]string{
	"migrations":           {},
	"identity":             {module + "/internal/problem"},
	"internal/problem":     {},
	"internal/egress":      {},
	"internal/room":        {"golang.org/x/time"},
	"internal/secret":      {keyring},
	"internal/testsummary": {},
	"web/internal/sprite":  {},
	"canonical":            {jcs},
	"policy":               {module + "/canonical", cel, oldCEL, jsonschema, jose},
	"internal/schemadiff":  {module + "/canonical"},
	"desired":              {module + "/policy", goyaml},
	"internal/devidp":      {jose},
	"internal/orders":      {mcp},
	"web":                  {templ, module + "/identity", "github.com/sergi/go-diff/diffmatchpatch"},
}

// confined lists the only packages whose own code (their tests aside) may import a module.
var confined = map[string][]string{
	echo: {"server"},
	mcp:  {"gateway", "internal/orders", "cmd/countersign", "examples/embedded/go"},
}

// without lists packages that must not link a module, not even through another package.
var without = map[string][]string{
	pgx: {"canonical", "policy", "client", "desired", "gateway", "web"},
}

// goPackage is what this test reads of "go list -json".
type goPackage struct {
	ImportPath   string
	Name         string
	GoFiles      []string
	Imports      []string
	Deps         []string
	TestImports  []string
	XTestImports []string
}

func TestLayers(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if name == "internal" { // this test
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, problem := range check(name, p) {
				t.Error(problem)
			}
		})
	}
}

// TestLayersFindFaults shows that each rule can fail.
func TestLayersFindFaults(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		p    goPackage
		want string
	}{
		{"nowhere", goPackage{}, "has no layer"},
		{"policy", goPackage{Imports: []string{module + "/registry"}}, "layer 3"},
		{"registry", goPackage{Imports: []string{module + "/approvals"}}, "layer 3"},
		{"audit", goPackage{Imports: []string{module + "/internal/pgtest"}}, "layer 2"},
		{"server", goPackage{Imports: []string{module + "/internal/pgtest"}}, "outside its tests"},
		{"audit", goPackage{TestImports: []string{module + "/delivery"}}, "layer 4"},
		{"web", goPackage{Imports: []string{module + "/registry"}}, "may not know"},
		{"identity", goPackage{Imports: []string{jose}}, "may not know"},
		{"auth", goPackage{Imports: []string{echo + "/middleware"}}, "only server"},
		{"registry", goPackage{Imports: []string{mcp + "/mcp"}}, "only gateway"},
		{"gateway", goPackage{Deps: []string{pgx + "/pgxpool"}}, "links"},
	}
	for _, c := range cases {
		if got := strings.Join(check(c.name, c.p), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("check(%s, %+v) = %q, want %q in it", c.name, c.p, got, c.want)
		}
	}
	fine := goPackage{
		Imports:     []string{"net/http", module + "/audit", pgx},
		TestImports: []string{module + "/internal/pgtest", module + "/registry"},
	}
	if got := check("registry", fine); len(got) > 0 {
		t.Errorf("check(registry, %+v) = %q, want nothing", fine, got)
	}
}

// check returns what is wrong with the imports of one package.
func check(name string, p goPackage) []string {
	layer, ok := layers[name]
	if !ok {
		return []string{name + " has no layer: give it one in this file and in the design"}
	}
	var problems []string
	for _, path := range p.Imports {
		if fault := upward(name, layer, path); fault != "" {
			problems = append(problems, fault)
		}
		if kit := strings.TrimPrefix(path, module+"/"); slices.Contains(testKits, kit) && !slices.Contains(testKits, name) {
			problems = append(problems, fmt.Sprintf("%s imports %s outside its tests", name, kit))
		}
		if allowed, ok := knows[name]; ok && !standard(path) && !slices.ContainsFunc(allowed, inModule(path)) {
			problems = append(problems, fmt.Sprintf("%s may not know %s", name, path))
		}
		for _, confinedModule := range slices.Sorted(maps.Keys(confined)) {
			users := confined[confinedModule]
			if inModule(path)(confinedModule) && !slices.Contains(users, name) {
				problems = append(problems, fmt.Sprintf("%s imports %s: only %s may", name, path, strings.Join(users, ", ")))
			}
		}
	}
	for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
		other := strings.TrimPrefix(path, module+"/")
		if other == name || slices.Contains(testKits, other) {
			continue
		}
		if fault := upward(name, layer, path); fault != "" {
			problems = append(problems, "test of "+fault)
		}
	}
	for _, path := range p.Deps {
		for _, unwanted := range slices.Sorted(maps.Keys(without)) {
			if inModule(path)(unwanted) && slices.Contains(without[unwanted], name) {
				problems = append(problems, fmt.Sprintf("%s links %s", name, path))
			}
		}
	}
	return problems
}

// upward says what is wrong when path is one of our packages and not of a lower layer.
func upward(name string, layer int, path string) string {
	other, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		return ""
	}
	if otherLayer, ok := layers[other]; !ok || otherLayer >= layer {
		return fmt.Sprintf("%s (layer %d) imports %s (layer %d)", name, layer, other, otherLayer)
	}
	return ""
}

// inModule returns whether path is a package of the module it is asked about.
func inModule(path string) func(module string) bool {
	return func(module string) bool { return path == module || strings.HasPrefix(path, module+"/") }
}

// standard says whether path is of the standard library: its first element has no dot and is not ours.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first != module
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e",
		"-json=ImportPath,Name,GoFiles,Imports,Deps,TestImports,XTestImports", "./...")
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}
