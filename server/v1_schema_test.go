package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"countersign/policy"
)

// TestServedPolicyObeysTheServedSchema takes both over the wire, as a gateway author does.
func TestServedPolicyObeysTheServedSchema(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, document := w.pulled(t)
	const path = "/v1/policy.schema.json"
	a := w.anonymous().get(path).want(t, http.StatusOK)
	if a.header.Get("Content-Type") != policy.SchemaMediaType || a.header.Get("Cache-Control") != "public, max-age=86400" {
		t.Errorf("%v", a.header)
	}
	w.anonymous().get(path, "If-None-Match", a.header.Get("ETag")).want(t, http.StatusNotModified)

	tree, err := jsonschema.UnmarshalJSON(strings.NewReader(a.body))
	must(t, err)
	compiler := jsonschema.NewCompiler()
	must(t, compiler.AddResource("policy.schema.json", tree))
	schema, err := compiler.Compile("policy.schema.json")
	must(t, err)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(document.body))
	must(t, err)
	must(t, schema.Validate(value))
}
