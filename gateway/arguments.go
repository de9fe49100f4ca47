package gateway

import (
	"encoding/json"

	"countersign/canonical"
	"countersign/policy"
)

// argumentsOf are the arguments of a use as conditions see them and as a digest has them: those of a tool or a prompt, and
// for a resource its address. A completion has none: conditions that look at them fail, which lets nobody complete what
// they might not be allowed to call.
func (x *exchange) argumentsOf(u use) json.RawMessage {
	switch x.message.method {
	case "tools/call", "prompts/get":
		arguments, _ := canonical.Lookup(x.message.params, "arguments")
		return policy.WithoutToken(arguments)
	}
	if u.kind == policy.KindResource {
		return canonical.AppendObject(nil, []canonical.Member{{Key: "uri", Value: canonical.AppendString(nil, u.name)}})
	}
	return nil
}
