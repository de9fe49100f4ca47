package registry

import (
	"testing"

	"countersign/policy"
)

// The validator leaves out bounds that it cannot keep, and gives up on some by panicking.
func TestSchemaWithANumberWithoutEndIsBlocked(t *testing.T) {
	t.Parallel()
	for _, bound := range []string{`"maximum":1e9999999`, `"multipleOf":1e9999999`, `"enum":[1,1e-99999999999]`, `"minLength":1e99999999`} {
		found := examine(policy.KindTool, []byte(`{"name":"x","inputSchema":{"type":"object","properties":{"a":{`+bound+`}}}}`))
		if !blocked(found) {
			t.Errorf("%s: %+v", bound, found)
		}
	}
}
