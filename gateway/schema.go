package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"countersign/canonical"
	"countersign/policy"
)

// validationTime bounds one validation. The registry refuses to pin schemas that cost much, so this is a
// second wall: a schema that reaches it is not tried again.
const validationTime = time.Second

// schemas are the compiled schemas of arguments and of results, by the digest of the definition that they are part of.
type schemas struct {
	mu       sync.Mutex
	compiled map[schemaKey]*pinnedSchema
}

type schemaKey struct {
	definition canonical.Digest
	output     bool
}

// pinnedSchema is a compiled schema.
type pinnedSchema struct {
	key    schemaKey
	schema *jsonschema.Schema
	err    error // it cannot be enforced
}

// maxSchemas bounds the cache; when it is full it starts anew.
const maxSchemas = 50_000

func newSchemas() *schemas { return &schemas{compiled: map[schemaKey]*pinnedSchema{}} }

var (
	errSlowSchema   = errors.New("its schema takes too long to check")
	errBrokenSchema = errors.New("its schema is not valid")
	errNumber       = errors.New("has a number of too many digits")
	errLoads        = errors.New("a schema may not refer to anything outside itself")
)

// check validates arguments (none is {}). An error with a path is about the arguments, one without about the
// schema. Neither text repeats a value of the arguments.
func (s *schemas) check(tool *policy.Tool, arguments json.RawMessage) (path string, err error) {
	schema := s.get(schemaKey{definition: tool.Definition}, tool.InputSchema)
	if schema.err != nil {
		return "", schema.err
	}
	if len(arguments) == 0 {
		arguments = json.RawMessage("{}")
	}
	if arguments[0] != '{' {
		return "/arguments", errors.New("must be an object")
	}
	if schema.schema == nil {
		return "", nil
	}
	if !canonical.Bounded(arguments) {
		return "/arguments", errNumber
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(arguments))
	if err != nil {
		return "/arguments", errors.New("are not JSON")
	}
	return s.validate(schema, value)
}

// validate runs the validation beside us, as it cannot be interrupted.
func (s *schemas) validate(schema *pinnedSchema, value any) (path string, err error) {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if recover() != nil { // it runs beside the exchange, where a panic would end us
				done <- errBrokenSchema
			}
		}()
		done <- schema.schema.Validate(value)
	}()
	timer := time.NewTimer(validationTime)
	defer timer.Stop()
	select {
	case err := <-done:
		if err == nil {
			return "", nil
		}
		return describe(err)
	case <-timer.C:
		s.put(&pinnedSchema{key: schema.key, err: errSlowSchema})
		return "", errSlowSchema
	}
}

func (s *schemas) get(key schemaKey, raw json.RawMessage) *pinnedSchema {
	s.mu.Lock()
	known := s.compiled[key]
	s.mu.Unlock()
	if known == nil {
		known = compile(raw)
		known.key = key
		s.put(known)
	}
	return known
}

func (s *schemas) put(schema *pinnedSchema) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.compiled) >= maxSchemas {
		clear(s.compiled)
	}
	s.compiled[schema.key] = schema
}

// compile makes a schema that loads nothing and keeps numbers exact.
func compile(raw json.RawMessage) *pinnedSchema {
	if len(raw) == 0 {
		return &pinnedSchema{}
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil || !canonical.Bounded(raw) { // a bound that it cannot keep would be left out
		return &pinnedSchema{err: errBrokenSchema}
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(refusingLoader{})
	const url = "urn:countersign:pinned-schema"
	if err := c.AddResource(url, value); err != nil {
		return &pinnedSchema{err: errBrokenSchema}
	}
	schema, err := c.Compile(url)
	if err != nil || circular(schema) {
		return &pinnedSchema{err: errBrokenSchema}
	}
	return &pinnedSchema{schema: schema}
}

type refusingLoader struct{}

// Load refuses: the default loader would read files.
func (refusingLoader) Load(string) (any, error) { return nil, errLoads }

// describe finds the first thing that is wrong, and says where and by which keyword.
func describe(err error) (path string, why error) {
	invalid := (*jsonschema.ValidationError)(nil)
	if !errors.As(err, &invalid) {
		return "", errBrokenSchema
	}
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	if _, endless := invalid.ErrorKind.(*kind.RefCycle); endless {
		return "", errBrokenSchema
	}
	return pointer(invalid.InstanceLocation), errors.New(rule(invalid.ErrorKind))
}

// pointer writes a JSON Pointer made of the caller's keys: shortened, and with nothing that does not print.
func pointer(steps []string) string {
	var b strings.Builder
	for _, step := range steps {
		if b.Len() > 200 {
			b.WriteString("/…")
			break
		}
		quoted := strconv.QuoteToASCII(strings.NewReplacer("~", "~0", "/", "~1").Replace(clip(step, 64)))
		b.WriteString("/" + quoted[1:len(quoted)-1])
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// rule says which rule is broken, in words of the pinned schema and none of the arguments.
func rule(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Required:
		return "lacks " + clip(strings.Join(k.Missing, ", "), 200)
	case *kind.Type:
		return "must be " + strings.Join(k.Want, " or ")
	case *kind.AdditionalProperties:
		return fmt.Sprintf("has %d properties that the tool does not take", len(k.Properties))
	case *kind.Enum, *kind.Const:
		return "is not one of the values that the tool takes"
	case *kind.Pattern:
		return "does not match the pattern that the tool asks for"
	}
	return "breaks the rule " + strconv.Quote(strings.Join(k.KeywordPath(), "/"))
}
