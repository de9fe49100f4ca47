package server

import (
	"encoding/json"
	"net/url"
	"strings"

	"countersign/delivery"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/web"
)

// callForm is a call that nobody makes, as it was typed: of an explanation, or of a test.
type callForm struct{ url.Values }

// given is the call.
func (f callForm) given() (delivery.Given, error) {
	g := delivery.Given{
		Principal: delivery.GivenPrincipal{
			User: strings.TrimSpace(f.Get("call_user")), Groups: lines(f.Get("call_groups")), Agent: strings.TrimSpace(f.Get("call_agent")),
			Model: strings.TrimSpace(f.Get("call_model")), Tainted: append([]string{}, lines(f.Get("call_tainted"))...), // empty: of none
		},
		Server: strings.TrimSpace(f.Get("call_server")), Kind: policy.Kind(f.Get("call_kind")), Name: strings.TrimSpace(f.Get("call_tool")),
	}
	if issuer, subject, both := strings.Cut(g.Principal.User, "|"); both && strings.Contains(issuer, "://") {
		g.Principal.Issuer, g.Principal.User = issuer, subject
	}
	if g.Principal.Groups == nil {
		g.Principal.Groups = []string{} // an empty field says that there are none
	}
	if g.Principal.Model != "" {
		g.Principal.Assurance = policy.Declared
		if f.Get("call_attested") != "" {
			g.Principal.Assurance = policy.Attested
		}
	}
	if f.Get("call_mfa") != "" {
		g.Principal.AMR = []string{"pwd", "mfa"}
	}
	if text := strings.TrimSpace(f.Get("call_arguments")); text != "" {
		g.Arguments = json.RawMessage(text)
	}
	at, err := typedMoment(f.Get("call_at"), nil)
	if err != nil {
		return g, problem.New(problem.Invalid, "invalid_question", "Nothing was changed.").Field("call_at", "Write a day and a time, as 2026-12-24T18:00.")
	}
	g.At = at
	return g, nil
}

// request is the call as a question asks it.
func (f callForm) request() (policy.Request, error) {
	g, err := f.given()
	if err != nil {
		return policy.Request{}, err
	}
	p := g.Principal
	r := policy.Request{
		Server: g.Server, Kind: g.Kind, Name: g.Name, Arguments: g.Arguments,
		Principal: &policy.Principal{
			Issuer: p.Issuer, Subject: p.User, Groups: p.Groups, Agent: p.Agent, Model: p.Model, ModelAssurance: p.Assurance, AMR: p.AMR,
			Taint: policy.TaintOf(p.Tainted),
		},
	}
	if g.At != nil {
		r.Now = *g.At
	}
	return r, nil
}

func (f callForm) view() web.ExplainForm {
	return web.ExplainForm{
		User: f.Get("call_user"), Groups: f.Get("call_groups"), Agent: f.Get("call_agent"), Model: f.Get("call_model"),
		Attested: f.Get("call_attested") != "", SecondFactor: f.Get("call_mfa") != "", Tainted: f.Get("call_tainted"), Server: f.Get("call_server"), Tool: f.Get("call_tool"),
		Kinds: chosen(f.Get("call_kind"), web.Option{Value: "tool", Label: "Tool"}, web.Option{Value: "prompt", Label: "Prompt"},
			web.Option{Value: "resource", Label: "Resource"}),
		Arguments: f.Get("call_arguments"), At: f.Get("call_at"),
	}
}

// formOfGiven is a call as its form shows it.
func formOfGiven(g delivery.Given) callForm {
	f := callForm{url.Values{
		"call_user": {g.Principal.User}, "call_groups": {strings.Join(g.Principal.Groups, ", ")}, "call_agent": {g.Principal.Agent},
		"call_model": {g.Principal.Model}, "call_server": {g.Server}, "call_tool": {g.Name}, "call_kind": {string(g.Kind)},
		"call_arguments": {string(g.Arguments)}, "call_at": {momentText(g.At)},
		"call_tainted": {strings.Join(g.Principal.Tainted, ", ")},
	}}
	if g.Principal.Issuer != "" {
		f.Set("call_user", g.Principal.Issuer+"|"+g.Principal.User)
	}
	if g.Principal.Assurance == policy.Attested {
		f.Set("call_attested", "yes")
	}
	if (&policy.Principal{AMR: g.Principal.AMR}).SecondFactor() {
		f.Set("call_mfa", "yes")
	}
	return f
}

// givenWords says a call in a sentence.
func givenWords(g delivery.Given) string {
	p := g.Principal
	who := "somebody"
	if p.User != "" {
		who = p.User
	}
	var with []string
	if len(p.Groups) > 0 {
		with = append(with, "in "+strings.Join(p.Groups, " and "))
	}
	if p.Agent != "" {
		with = append(with, "through "+p.Agent)
	}
	if p.Model != "" {
		with = append(with, "with "+p.Model)
	}
	words := strings.Join(append([]string{who}, with...), ", ") + " calls " + g.Name + " on " + g.Server
	if len(g.Arguments) > 0 {
		words += " with " + cut(string(g.Arguments), 120)
	}
	if g.At != nil {
		words += " at " + g.At.UTC().Format("2 Jan 2006 15:04 UTC")
	}
	return words
}

// callFields says under which field of the form an error of a question or a test belongs.
var callFields = map[string]string{
	"server": "call_server", "name": "call_tool", "kind": "call_kind", "arguments": "call_arguments", "principal": "call_user", "at": "call_at",
	"principal.user": "call_user", "principal.issuer": "call_user", "principal.groups": "call_groups", "principal.agent": "call_agent",
	"principal.model": "call_model", "principal.assurance": "call_model", "principal.amr": "call_user", "principal.tainted": "call_tainted",
	"expect.outcome": "expect_outcome", "expect.reason": "expect_reason",
}

// callErrors puts each error of a call under its field. What is wrong with a test's call has a prefix, its name has none.
func callErrors(err error, prefix string) (errs web.Errors, status int, ok bool) {
	found, status, ok := formErrors(err, nil)
	if !ok || problem.Is(err, problem.Forbidden) {
		return nil, status, false
	}
	errs = web.Errors{}
	for path, message := range found {
		inner, cut := strings.CutPrefix(path, prefix)
		field, known := callFields[inner]
		switch {
		case known && (cut || strings.HasPrefix(path, "expect.")):
			errs[field] = message
		default:
			errs[path] = message
		}
	}
	return errs, status, true
}
