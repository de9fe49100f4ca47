package gateway

import (
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// circular reports whether a schema applies itself, by way of references, to the very value that it is applied to. Such a
// schema says nothing; validating finds out too late, as under "not" a failure to judge looks like a judgement.
func circular(root *jsonschema.Schema) bool {
	const entered, left = 1, 2
	state := map[*jsonschema.Schema]int{}
	var visit func(s *jsonschema.Schema) bool
	visit = func(s *jsonschema.Schema) bool {
		if s == nil || state[s] == left {
			return false
		}
		if state[s] == entered {
			return true
		}
		state[s] = entered
		if slices.ContainsFunc(appliedInPlace(s), visit) {
			return true
		}
		state[s] = left
		return false
	}
	return slices.ContainsFunc(everySchema(root), visit)
}

// appliedInPlace are the schemas that a schema applies to the same value.
func appliedInPlace(s *jsonschema.Schema) []*jsonschema.Schema {
	found := []*jsonschema.Schema{s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else}
	if s.DynamicRef != nil {
		found = append(found, s.DynamicRef.Ref)
	}
	found = append(append(append(found, s.AllOf...), s.AnyOf...), s.OneOf...)
	for _, d := range s.DependentSchemas {
		found = append(found, d)
	}
	for _, d := range s.Dependencies {
		found = append(found, oneSchema(d)...)
	}
	return found
}

// everySchema are all schemas that can come to be applied.
func everySchema(root *jsonschema.Schema) []*jsonschema.Schema {
	seen, all := map[*jsonschema.Schema]bool{nil: true}, []*jsonschema.Schema{root}
	seen[root] = true
	for i := 0; i < len(all); i++ {
		for _, next := range append(appliedInPlace(all[i]), appliedInside(all[i])...) {
			if !seen[next] {
				seen[next] = true
				all = append(all, next)
			}
		}
	}
	return all
}

// appliedInside are the schemas that a schema applies to parts of its value.
func appliedInside(s *jsonschema.Schema) []*jsonschema.Schema {
	found := []*jsonschema.Schema{s.PropertyNames, s.UnevaluatedProperties, s.UnevaluatedItems, s.Contains, s.Items2020, s.ContentSchema}
	found = append(found, s.PrefixItems...)
	for _, p := range s.Properties {
		found = append(found, p)
	}
	for _, p := range s.PatternProperties {
		found = append(found, p)
	}
	for _, either := range []any{s.AdditionalProperties, s.Items, s.AdditionalItems} {
		found = append(found, oneSchema(either)...)
	}
	return found
}

func oneSchema(v any) []*jsonschema.Schema {
	switch v := v.(type) {
	case *jsonschema.Schema:
		return []*jsonschema.Schema{v}
	case []*jsonschema.Schema:
		return v
	}
	return nil
}
