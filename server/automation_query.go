package server

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"countersign/internal/problem"
)

// Queries are structs: a field with the tag query is a parameter, a string (of a type with known values: one of
// them), a bool or an int. The tag max bounds an int, the tag doc is for the document.

// readQuery fills a query from the address. What is not a parameter, stands there twice or has no such value is Invalid
// invalid_parameter, with the name as field.
func readQuery(values url.Values, into any) error {
	target := reflect.ValueOf(into).Elem()
	invalid := problem.New(problem.Invalid, "invalid_parameter", "The address has a parameter that is not understood.")
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(target.Type()) {
		if name := f.Tag.Get("query"); name != "" {
			fields[name] = f
		}
	}
	for name, given := range values {
		f, ok := fields[name]
		switch {
		case !ok:
			invalid.Field(visibleName(name), "There is no such parameter here.")
		case len(given) > 1:
			invalid.Field(name, "It is given more than once.")
		default:
			if message := setParameter(target.FieldByIndex(f.Index), f, given[0]); message != "" {
				invalid.Field(name, message)
			}
		}
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

// visibleName is the name of a parameter that somebody made up, fit for an answer.
func visibleName(name string) string {
	quoted := strconv.QuoteToASCII(name[:min(len(name), 60)])
	return strings.Trim(quoted, `"`)
}

func setParameter(field reflect.Value, f reflect.StructField, text string) (complaint string) {
	switch f.Type.Kind() {
	case reflect.Bool:
		if text != "true" && text != "false" {
			return "It is true or false."
		}
		field.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.Atoi(text)
		most, _ := strconv.Atoi(f.Tag.Get("max"))
		if err != nil || n < 1 || n > most {
			return fmt.Sprintf("It is a number from 1 to %d.", most)
		}
		field.SetInt(int64(n))
	default:
		if all := valuesOf(f); len(all) > 0 && !slices.Contains(all, any(text)) {
			return fmt.Sprintf("It is one of %v.", strings.Trim(fmt.Sprint(all), "[]"))
		}
		if len(text) > 500 {
			return "It is longer than 500 bytes."
		}
		field.SetString(text)
	}
	return ""
}

// valuesOf are the values that a parameter can have: those of its type, or of its tag; none: any.
func valuesOf(f reflect.StructField) []any {
	if all := known[f.Type]; len(all) > 0 {
		return all
	}
	var all []any
	if tag := f.Tag.Get("enum"); tag != "" {
		for value := range strings.SplitSeq(tag, ",") {
			all = append(all, value)
		}
	}
	return all
}

// queryParameter describes a field of a query.
func queryParameter(all *schemas, f reflect.StructField) (object, error) {
	schema, err := all.of(f.Type)
	if err != nil {
		return nil, err
	}
	if values := valuesOf(f); len(values) > 0 {
		schema["enum"] = values
	}
	if f.Type.Kind() == reflect.Int {
		most, err := strconv.Atoi(f.Tag.Get("max"))
		if err != nil {
			return nil, fmt.Errorf("the parameter %s needs a max: %w", f.Name, err)
		}
		schema["minimum"], schema["maximum"] = 1, most
	}
	p := object{"name": f.Tag.Get("query"), "in": "query", "schema": schema}
	if doc := f.Tag.Get("doc"); doc != "" {
		p["description"] = doc
	}
	return p, nil
}
