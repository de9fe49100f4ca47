package registry

import (
	"errors"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Limits of a schema that can be enforced on every call. Real tools stay far below them.
const (
	maxSchemaDepth = 64
	maxSchemaNodes = 20_000
	maxSchemaWork  = 5_000 // subschemas tried on one value
)

// schemas checks that the tool's schemas can be enforced: they compile without loading anything, and what they
// cost on one value is bounded. A validation cannot be interrupted, so this is the place to refuse.
func (r *reader) schemas(definition map[string]any) {
	input, has := definition["inputSchema"]
	if !has {
		r.add(Finding{
			Code: "schema_missing", Where: "/inputSchema", Blocks: true,
			Message: "There is no input schema, so no argument could be checked.",
		})
	} else {
		r.schema("inputSchema", input)
	}
	if output, has := definition["outputSchema"]; has {
		r.schema("outputSchema", output)
	}
}

func (r *reader) schema(field string, value any) {
	where := "/" + field
	block := func(code, message string) {
		r.add(Finding{Code: code, Where: where, Message: message, Blocks: true})
	}
	root, isObject := value.(map[string]any)
	if !isObject {
		block("schema_invalid", "The "+field+" is not a JSON object.")
		return
	}
	if t, _ := root["type"].(string); t != "object" && field == "inputSchema" {
		block("schema_invalid", `The inputSchema does not say "type": "object", as MCP requires.`)
		return
	}
	if code, message := unsafe(root); code != "" {
		block(code, message)
		return
	}
	if err := compiles(value); err != nil {
		block("schema_invalid", "The "+field+" cannot be enforced: "+reason(err))
	}
}

// compiles compiles the schema with nothing but what it says itself.
func compiles(value any) error {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(refusingLoader{})
	const url = "urn:countersign:schema"
	if err := c.AddResource(url, value); err != nil {
		return err
	}
	_, err := c.Compile(url)
	return err
}

var errRefused = errors.New("a schema may not refer to anything outside itself")

type refusingLoader struct{}

// Load refuses: the default loader would read files.
func (refusingLoader) Load(string) (any, error) { return nil, errRefused }

// reason makes one printable line of a compiler's error, which repeats parts of the schema.
func reason(err error) string {
	if invalid, is := errors.AsType[*jsonschema.SchemaValidationError](err); is {
		err = invalid.Err
	}
	if errors.Is(err, errRefused) {
		err = errRefused
	}
	return visible(strings.Join(strings.Fields(err.Error()), " "), 300)
}
