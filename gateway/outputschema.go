package gateway

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// eitherSchema is of an answer that may be that of several calls, of which not all have the same schema.
var eitherSchema = &pinnedSchema{err: errors.New("it answers no call that is known")}

// outputSchemas are the schemas of structured results that a server offers, by the definition that they are part of.
func outputSchemas(o client.Offer) map[canonical.Digest]json.RawMessage {
	schemas := map[canonical.Digest]json.RawMessage{}
	for _, raw := range o.Tools {
		members, err := canonical.Fields(raw, "outputSchema")
		if err != nil {
			continue
		}
		schema, ok := canonical.Lookup(members, "outputSchema")
		if !ok {
			continue
		}
		if digest, err := client.DefinitionDigest(raw); err == nil {
			schemas[digest] = schema
		}
	}
	return schemas
}

// output returns the schema of structured results that is part of a tool's pinned definition, nil if it has none.
func (w *watcher) output(s *policy.Server, t *policy.Tool) json.RawMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.entry(s).outputs[t.Definition]
}

// outputSchema is the compiled one for a call of a tool, nil if there is none.
func (x *exchange) outputSchema(t *policy.Tool) *pinnedSchema {
	if t == nil || x.message.method != "tools/call" {
		return nil
	}
	raw := x.g.watch.output(x.server, t)
	if len(raw) == 0 {
		return nil
	}
	return x.g.schemas.get(schemaKey{definition: t.Definition, output: true}, raw)
}

// checkResult says what is wrong with the structured content of a result, in words of the schema and none of the result.
// A result that says itself that the tool failed is of no form.
func (s *schemas) checkResult(schema *pinnedSchema, members []canonical.Member) error {
	content, ok := canonical.Lookup(members, "structuredContent")
	if failed, _ := canonical.Lookup(members, "isError"); schema == nil || !ok || string(failed) == "true" {
		return nil
	}
	if schema.err != nil {
		return schema.err
	}
	if !canonical.Bounded(content) {
		return errNumber
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		return errors.New("it is not JSON")
	}
	_, err = s.validate(schema, value)
	return err
}
