package schemadiff_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"countersign/internal/schemadiff"
)

// TestCompatibleMeansOldInstancesStayValid is the promise of the package, asked of a validator that knows nothing of
// its rules: for two schemas whose changes are all compatible, what is valid under the first is valid under the second.
func TestCompatibleMeansOldInstancesStayValid(t *testing.T) {
	t.Parallel()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue { // a wrong rule shows itself only once in a while
		if err := flag.Set("rapid.checks", "1000"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := &schemas{T: rt, draft07: rapid.Bool().Draw(rt, "draft07")}
		before := s.root()
		after := s.change(before)
		for range s.n(3) {
			after = s.change(after)
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		compatible(rt, before, after, seed)
		compatible(rt, after, before, seed)
	})
}

// compatible checks one pair in one direction.
func compatible(t *rapid.T, before, after map[string]any, seed uint64) {
	a, b := marshal(t, before), marshal(t, after)
	changes := schemadiff.Compare(a, b)
	if again := schemadiff.Compare(a, a); again != nil {
		t.Fatalf("Compare(x, x) = %+v for %s", again, a)
	}
	if changes == nil && !bytes.Equal(a, b) {
		t.Fatalf("no change from %s to %s", a, b)
	}
	if !schemadiff.Compatible(changes) {
		return
	}
	was, is := compile(a), compile(b)
	if was == nil || is == nil {
		return // one of them is no schema, and checks nothing
	}
	i := instances{Rand: rand.New(rand.NewPCG(seed, 0)), root: before}
	for n := range 40 {
		value := i.of(before, 4)
		if n%3 == 0 {
			value = i.anything(2)
		}
		v := decode(t, marshal(t, value))
		if was.Validate(v) != nil {
			continue
		}
		if err := is.Validate(v); err != nil {
			t.Fatalf("said to be compatible:\n%s\n%s\nbut of %s it is said: %v\n%s", a, b, marshal(t, value), err, describe(changes))
		}
	}
}

var errRefused = errors.New("no schema is loaded")

type refusing struct{}

func (refusing) Load(string) (any, error) { return nil, errRefused }

// compile makes a validator; nil: the schema is none.
func compile(schema []byte) *jsonschema.Schema {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(refusing{})
	c.AssertFormat()
	if err := c.AddResource("urn:test:schema", value); err != nil {
		return nil
	}
	s, err := c.Compile("urn:test:schema")
	if err != nil {
		return nil
	}
	return s
}

type failing interface {
	Helper()
	Fatal(...any)
}

func marshal(t failing, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(t failing, data []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func describe(changes []schemadiff.Change) string {
	var b bytes.Buffer
	for _, c := range changes {
		b.WriteString(string(c.Kind) + " " + c.Path + " " + string(c.Before) + " → " + string(c.After) + ": " + c.Meaning + "\n")
	}
	return b.String()
}
