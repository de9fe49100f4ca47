package registry

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"countersign/canonical"
	"countersign/policy"
)

// Finding is what the checks noticed in a definition. A deterministic one is a fact, and may block. A heuristic one is
// a guess from the wording: it never blocks, and makes a change graver.
type Finding struct {
	Code      string `json:"code"`                // stable, snake_case
	Where     string `json:"where"`               // JSON pointer into the definition, made visible
	Message   string `json:"message"`             // a sentence for the owner
	Blocks    bool   `json:"blocks"`              // it cannot be pinned
	Heuristic bool   `json:"heuristic,omitempty"` // a guess, which raises the severity
}

// maxFindings bounds what is kept of a definition that is wrong everywhere.
const maxFindings = 20

// blocked reports whether any finding blocks.
func blocked(findings []Finding) bool {
	for _, f := range findings {
		if f.Blocks {
			return true
		}
	}
	return false
}

// examine runs the deterministic checks on one definition that passed canonical.Exact: its text, then, for a
// tool, its schemas.
func examine(kind policy.Kind, raw []byte) []Finding {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	object, isObject := value.(map[string]any)
	if err != nil || !isObject {
		return []Finding{{Code: "not_an_object", Message: "The definition is not a JSON object.", Blocks: true}}
	}
	var r reader
	r.read(nil, object)
	r.name(kind, object)
	switch {
	case kind != policy.KindTool:
	case !canonical.Bounded(raw):
		r.add(Finding{
			Code: "schema_invalid", Message: "A number of the definition has too many digits, or a larger exponent than any machine reckons with.", Blocks: true,
		})
	default:
		r.schemas(object)
	}
	r.guess(object)
	return r.findings
}

// reader walks everything a model or a client would read. It recurses no deeper than canonical.Exact allows.
type reader struct{ findings []Finding }

func (r *reader) add(f Finding) {
	if len(r.findings) < maxFindings {
		r.findings = append(r.findings, f)
	}
}

// step is a place in a document; the path is only put together for a finding.
type step struct {
	up   *step
	name string
}

func (s *step) String() string {
	if s == nil {
		return ""
	}
	return s.up.String() + "/" + visible(s.name, 40)
}

// read checks every string and every key below value, in a fixed order.
func (r *reader) read(at *step, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			below := &step{at, key}
			r.text(below, key, false)
			r.read(below, v[key])
		}
	case []any:
		for i, element := range v {
			r.read(&step{at, strconv.Itoa(i)}, element)
		}
	case string:
		r.text(at, v, !at.isName())
	}
}

// isName reports whether the place is one of the item's own names, where a line break is no text either.
func (s *step) isName() bool {
	switch {
	case s == nil:
		return false
	case s.up == nil:
		return s.name == "name" || s.name == "uri" || s.name == "uriTemplate" || s.name == "title"
	}
	return s.up.up == nil && s.up.name == "annotations" && s.name == "title"
}

func (r *reader) text(at *step, s string, lines bool) {
	for _, u := range findUnseen(s, lines) {
		where := at.String()
		r.add(Finding{
			Code: u.code, Where: where, Blocks: true,
			Message: "The text at " + where + " holds " + u.describe() + ".",
		})
	}
}

// name checks that the letters of a name are not partly others that only look Latin. What names of other servers it
// looks like is asked of the database.
func (r *reader) name(kind policy.Kind, definition map[string]any) {
	name, _ := definition["name"].(string)
	if odd := mixedScripts(name); kind != policy.KindResource && odd != 0 {
		r.add(Finding{
			Code: "mixed_scripts", Where: "/name", Blocks: true,
			Message: fmt.Sprintf("The name mixes Latin letters with U+%04X, which only looks like %q.", odd, latinFor[odd]),
		})
	}
}
