package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// contract is the document, as something that answers can be held to. Every answer of /v1 and /oauth that a test of this
// package gets is held to it (caller.send).
type contract struct {
	paths    map[string]map[string]describedOperation
	patterns []pattern
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	schemas  map[string]*jsonschema.Schema
}

type describedOperation struct {
	Responses map[string]struct {
		Content map[string]any `json:"content"`
	} `json:"responses"`
}

type pattern struct {
	path string
	re   *regexp.Regexp
}

const documentURL = "https://countersign.example/openapi.json"

var theContract = sync.OnceValues(func() (*contract, error) {
	raw, err := openAPIDocument((&Server{}).operations(), "")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Paths map[string]map[string]describedOperation `json:"paths"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	c := &contract{paths: doc.Paths, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource(documentURL, tree); err != nil {
		return nil, err
	}
	for path := range doc.Paths {
		re := regexp.MustCompile("^" + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "[^/]+") + "$")
		c.patterns = append(c.patterns, pattern{path, re})
	}
	slices.SortFunc(c.patterns, func(a, b pattern) int { return strings.Count(a.path, "{") - strings.Count(b.path, "{") })
	return c, nil
})

// schema compiles the part of the document at a pointer, once.
func (c *contract) schema(pointer string) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.schemas[pointer]; s != nil {
		return s, nil
	}
	s, err := c.compiler.Compile(documentURL + "#" + pointer)
	if err == nil {
		c.schemas[pointer] = s
	}
	return s, err
}

// broken says in what an answer is not what the document promises.
func (c *contract) broken(method, path string, a answer) error {
	path, _, _ = strings.Cut(path, "?")
	pointer, contents := "/components/schemas/ProblemReply", map[string]any{problemType: nil}
	for _, p := range c.patterns {
		o, ok := c.paths[p.path][strings.ToLower(method)]
		if !ok || !p.re.MatchString(path) {
			continue
		}
		status := strconv.Itoa(a.status)
		if _, ok := o.Responses[status]; !ok {
			if status = "default"; a.status < 400 {
				return fmt.Errorf("the document knows no answer %d", a.status)
			}
		}
		contents = o.Responses[status].Content
		pointer = "/paths/" + escaped(p.path) + "/" + strings.ToLower(method) + "/responses/" + status + "/content/"
		break
	}
	if len(contents) == 0 {
		if a.body != "" {
			return fmt.Errorf("the document knows no body for %d: %s", a.status, a.body)
		}
		return nil
	}
	kind := a.header.Get("Content-Type")
	if _, ok := contents[kind]; !ok {
		if plain, _, err := mime.ParseMediaType(kind); err == nil {
			kind = plain
		}
	}
	if _, ok := contents[kind]; !ok {
		return fmt.Errorf("the document knows no %s for %d", kind, a.status)
	}
	if strings.HasPrefix(pointer, "/paths/") {
		pointer += escaped(kind) + "/schema"
	}
	if a.header.Get("Content-Encoding") != "" || kind == joseType || kind == yamlType || kind == csvType || kind == bundleType {
		return nil
	}
	return c.holds(pointer, a.body)
}

func (c *contract) holds(pointer, body string) error {
	schema, err := c.schema(pointer)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func escaped(part string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D", ";", "%3B").Replace(part)
}

// asDescribed fails the test when an answer of /v1 or /oauth is not as the document says.
func (w *world) asDescribed(method, path string, a answer) {
	w.t.Helper()
	if !strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/oauth/") || method == http.MethodHead {
		return
	}
	c, err := theContract()
	if err == nil {
		err = c.broken(method, path, a)
	}
	if err != nil {
		w.t.Errorf("%s %.200s answers %d, not as the document says: %v: %.500s", method, path, a.status, err, a.body)
	}
}

func TestTheDocumentHasEveryMachineRoute(t *testing.T) {
	t.Parallel()
	c, err := theContract()
	must(t, err)
	var described, routed []string
	for path, item := range c.paths {
		for method := range item {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	for _, r := range (&Server{}).routes() {
		if strings.HasPrefix(r.path, "/v1/") || strings.HasPrefix(r.path, "/oauth/") {
			routed = append(routed, r.method+" "+braced(r.path))
		}
	}
	slices.Sort(described)
	slices.Sort(routed)
	if diff := cmp.Diff(routed, described); diff != "" {
		t.Errorf("routes and document differ (-routes +document):\n%s", diff)
	}
}

func TestTheDocumentIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.anonymous().get("/v1/openapi.json").want(t, http.StatusOK, `"openapi":"3.1.0"`, w.url)
	if a.header.Get("Content-Type") != "application/json" {
		t.Error(a.header)
	}
	doc := into[struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Summary     string `json:"summary"`
		} `json:"paths"`
	}](t, a)
	seen := map[string]string{}
	for path, item := range doc.Paths {
		for method, o := range item {
			if o.Summary == "" || seen[o.OperationID] != "" {
				t.Errorf("%s %s: the id %s is that of %s, the summary %q", method, path, o.OperationID, seen[o.OperationID], o.Summary)
			}
			seen[o.OperationID] = method + " " + path
		}
	}
}
