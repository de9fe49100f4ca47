package delivery

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// Draft is a change of rules that is not saved: what a form holds while somebody fills it in.
type Draft struct {
	Grants        []policy.SourceGrant     // to be made, or changed where the id is that of an open one
	Guardrails    []policy.SourceGuardrail // likewise
	EndGrants     []string                 // ids of open grants
	EndGuardrails []string                 // ids of open guardrails
}

// Empty reports whether the draft says nothing.
func (d Draft) Empty() bool {
	return len(d.Grants)+len(d.Guardrails)+len(d.EndGrants)+len(d.EndGuardrails) == 0
}

const (
	maxDraft   = 1000
	draftID    = "draft." // of a rule that has none yet, with a number
	draftNamed = "this "  // what a rule without a name is called
)

// on gives the snapshot with the draft in it; it shares what it does not change. Problem: Invalid invalid_draft, with
// fields such as "grants[0].subject.users" or "end_guardrails[1]".
func (d Draft) on(s registry.Snapshot) (registry.Snapshot, error) {
	invalid := problem.New(problem.Invalid, "invalid_draft", "The draft cannot be judged yet.")
	if n := len(d.Grants) + len(d.Guardrails) + len(d.EndGrants) + len(d.EndGuardrails); n > maxDraft {
		return s, invalid.Field("draft", fmt.Sprintf("It changes %d rules; it may change %d.", n, maxDraft))
	}
	s.Grants = drafted(s.Grants, d.Grants, d.EndGrants, rules[policy.SourceGrant]{
		what: "grant", invalid: invalid, name: nameGrant, id: func(g policy.SourceGrant) string { return g.ID },
		check: func(g policy.SourceGrant) error { return judge(policy.Source{Grants: []policy.SourceGrant{g}}) },
	})
	s.Guardrails = drafted(s.Guardrails, d.Guardrails, d.EndGuardrails, rules[policy.SourceGuardrail]{
		what: "guardrail", invalid: invalid, name: nameGuardrail, id: func(g policy.SourceGuardrail) string { return g.ID },
		check: func(g policy.SourceGuardrail) error {
			return judge(policy.Source{Guardrails: []policy.SourceGuardrail{g}})
		},
	})
	if len(invalid.Fields) > 0 {
		return s, invalid
	}
	return s, nil
}

// rules is how to draft one kind of rule.
type rules[T any] struct {
	what    string
	invalid *problem.Error
	name    func(rule *T, id string) // gives a rule what it lacks yet
	id      func(T) string
	check   func(T) error
}

// drafted gives the open rules with those of a draft made, changed and ended.
func drafted[T any](open, changes []T, ends []string, r rules[T]) []T {
	if len(changes)+len(ends) == 0 {
		return open
	}
	places := make(map[string]int, len(open))
	for i, rule := range open {
		places[r.id(rule)] = i
	}
	out, gone := slices.Clone(open), map[string]bool{}
	for i, rule := range changes {
		field := fmt.Sprintf("%ss[%d]", r.what, i)
		r.name(&rule, draftID+strconv.Itoa(i+1))
		if r.refuses(field, r.check(rule)) {
			continue
		}
		if at, known := places[r.id(rule)]; known {
			out[at] = rule
			continue
		}
		places[r.id(rule)] = len(out)
		out = append(out, rule)
	}
	for i, id := range ends {
		if at, known := places[id]; !known || at >= len(open) {
			r.invalid.Field(fmt.Sprintf("end_%ss[%d]", r.what, i), "There is no such open "+r.what+".")
		}
		gone[id] = true
	}
	return slices.DeleteFunc(out, func(rule T) bool { return gone[r.id(rule)] })
}

// refuses notes what policy complains of.
func (r rules[T]) refuses(field string, err error) bool {
	var wrong *policy.Error
	switch {
	case err == nil:
		return false
	case errors.As(err, &wrong) && wrong.Field != "":
		last := wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:]
		r.invalid.Field(field+"."+wrong.Field, "The "+last+" "+wrong.Msg+".")
	case errors.As(err, &wrong):
		r.invalid.Field(field, "The "+r.what+" "+wrong.Msg+".")
	default:
		r.invalid.Field(field, "This cannot be read.").Because(err)
	}
	return true
}

// judge checks rules as a compile does, for an audience that sees nothing.
func judge(src policy.Source) error {
	src.Issuer, src.Audience, src.MaxStaleSeconds = foreseenBy, foreseenBy, 1
	_, _, err := policy.Compile(src, epochStart)
	return err
}

func nameGrant(g *policy.SourceGrant, id string) {
	if g.ID == "" {
		g.ID = id
	}
	if g.Name == "" {
		g.Name = draftNamed + "grant"
	}
}

func nameGuardrail(g *policy.SourceGuardrail, id string) {
	if g.ID == "" {
		g.ID = id
	}
	if g.Name == "" {
		g.Name = draftNamed + "guardrail"
	}
}
