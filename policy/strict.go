package policy

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"countersign/canonical"
)

// Limits on a rule as it is written.
const (
	maxRuleBytes = 1 << 20
	maxRuleDepth = 8
)

// ParseSubject reads the subject of a grant or guardrail: strictly, with no
// unknown, repeated or misspelt member, and valid.
func ParseSubject(data []byte) (Subject, error) {
	s, err := parseRule[Subject](data)
	if err == nil {
		err = s.Validate()
	}
	return s, reading("subject", err)
}

// ParseExcept reads the exception of a guardrail, which may be empty.
func ParseExcept(data []byte) (Subject, error) {
	s, err := parseRule[Subject](data)
	if err == nil {
		err = s.validateExcept()
	}
	return s, reading("except", err)
}

// ParseResource reads the resource of a grant or guardrail, as ParseSubject does.
func ParseResource(data []byte) (Resource, error) {
	r, err := parseRule[Resource](data)
	if err == nil {
		err = r.Validate()
	}
	return r, reading("resource", err)
}

// ParseEffect reads the effect of a guardrail, as ParseSubject does.
func ParseEffect(data []byte) (Effect, error) {
	e, err := parseRule[Effect](data)
	if err == nil {
		err = e.Validate()
	}
	return e, reading("effect", err)
}

func reading(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading %s: %w", what, inField(what, err))
}

func parseRule[T any](data []byte) (T, error) {
	return parse[T](data, canonical.Limits{MaxBytes: maxRuleBytes, MaxDepth: maxRuleDepth, FoldedKeys: true})
}

// parse reads data, which must be within limits and hold only members that T has.
func parse[T any](data []byte, limits canonical.Limits) (T, error) {
	var v T
	if err := canonical.Check(data, limits); err != nil {
		return v, err
	}
	if err := onlyMembersOf(reflect.TypeFor[T](), data); err != nil {
		return v, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, wrong("", "has a member of the wrong type")
	}
	return v, nil
}

// onlyMembersOf refuses members that t does not have, spelt exactly: encoding/json
// would ignore them, or take them for another.
func onlyMembersOf(t reflect.Type, data []byte) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case string(data) == "null":
		return wrong("", "is null")
	case t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return onlyFieldsOf(t, data)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		elements, err := canonical.Elements(data)
		if err != nil {
			return err
		}
		for i, e := range elements {
			if err := onlyMembersOf(t.Elem(), e); err != nil {
				return inField(fmt.Sprintf("[%d]", i), err)
			}
		}
	}
	return nil
}

func onlyFieldsOf(t reflect.Type, data []byte) error {
	members, err := canonical.Members(data)
	if err != nil {
		return err
	}
	for _, m := range members {
		field, ok := fieldNamed(t, m.Key)
		if !ok {
			return wrong("", "has an unknown member "+strconv.QuoteToASCII(m.Key[:min(len(m.Key), 40)]))
		}
		if field.Type == reflect.TypeFor[json.RawMessage]() {
			continue
		}
		if err := onlyMembersOf(field.Type, m.Value); err != nil {
			return inField(m.Key, err)
		}
	}
	return nil
}

func fieldNamed(t reflect.Type, key string) (reflect.StructField, bool) {
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name == key {
			return field, true
		}
	}
	return reflect.StructField{}, false
}
