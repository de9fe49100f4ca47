package policy

import _ "embed" // the schema is part of the program

// SchemaMediaType is how the schema is served.
const SchemaMediaType = "application/schema+json"

//go:embed policy.schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of a Document, for gateways that are written in other languages. What it
// refuses Decode refuses too; Decode refuses more: what is out of order, points nowhere, or is not in the one encoding.
func Schema() []byte { return schema }
