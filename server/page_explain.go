package server

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/web"
)

// What a question of the console may be held against, beside an audience by its id.
const (
	againstNow   = "now"
	againstDraft = "draft"
)

// explainPage asks about a call. An address may say who calls what; arguments, and a draft, come only as a form: they
// may be secrets.
func (s *Server) explainPage(c echo.Context, who identity.Principal) error {
	form := callForm{c.Request().PostForm}
	asked := form.Get("ask") != ""
	if c.Request().Method == http.MethodGet {
		form.Values = url.Values{}
		for _, field := range []string{"call_user", "call_groups", "call_agent", "call_model", "call_attested", "call_mfa", "call_tainted", "call_server", "call_tool", "call_kind", "against"} {
			form.Set(field, c.QueryParam(field))
		}
		asked = form.Get("call_server") != "" && form.Get("call_tool") != ""
	}
	view := web.Explain{}
	draft, err := s.readDraft(c, who, cmp.Or(form.Get("draft"), c.QueryParam("draft")), form, &view)
	if err != nil {
		return err
	}
	audiences, err := s.delivery.Audiences(c.Request().Context(), who)
	if err != nil {
		return err
	}
	against := form.Get("against")
	view.Against = againstOptions(audiences, draft != nil, &against)
	view.Form = form.view()
	status := http.StatusOK
	if asked && view.Errors == nil {
		if view.Answer, err = s.ask(c, who, form, against, draft); err != nil {
			errs, refused, again := callErrors(err, "")
			if !again {
				return err
			}
			view.Errors, status = errs, refused
		}
	}
	return render(c, status, web.ExplainPage(s.page(c, who, "Explain", "/policy"), view))
}

// againstOptions are what a call may be judged by. Without a choice it is the draft if there is one, and else what the
// first audience runs.
func againstOptions(audiences []delivery.Audience, draft bool, against *string) []web.Option {
	var options []web.Option
	if draft {
		options = append(options, web.Option{Value: againstDraft, Label: "The draft"})
	}
	for _, a := range audiences {
		if a.Revision > 0 {
			options = append(options, web.Option{Value: a.ID, Label: fmt.Sprintf("What is in force for %s, revision %d", a.Name, a.Revision)})
		}
	}
	options = append(options, web.Option{Value: againstNow, Label: "The rules as they are now, published or not"})
	if !slices.ContainsFunc(options, func(o web.Option) bool { return o.Value == *against }) {
		*against = options[0].Value
	}
	return chosen(*against, options...)
}

// readDraft reads the rule whose form the reader came from; nil when there is none. What is wrong with it is told at the
// top: it is mended in its own form.
func (s *Server) readDraft(c echo.Context, who identity.Principal, kind string, form callForm, view *web.Explain) (*delivery.Draft, error) {
	var draft delivery.Draft
	rule := ruleForm(form)
	switch {
	case kind == "grant" && who.Can(identity.ChangeGrant, "") == nil:
		f := grantForm{rule}
		was, err := s.grantOf(c, who, f)
		if err != nil {
			return nil, err
		}
		n, err := f.grant(s.cfg.Now(), was)
		if err != nil {
			view.Errors = web.Errors{"": "The draft cannot be judged yet. Go back to it."}
		}
		draft = f.draft(n)
		view.Draft = &web.Draft{Words: "The grant “" + brief(n.Name) + "”, as it stands in its form. It is not saved.", Back: "/grants"}
	case kind == "guardrail" && who.Can(identity.ChangeGrant, "") == nil:
		f := guardrailForm{rule}
		n, err := s.guardrailOf(c, who, f)
		if _, _, ok := ruleErrors(err); err != nil && ok {
			view.Errors = web.Errors{"": "The draft cannot be judged yet. Go back to it."}
		} else if err != nil {
			return nil, err
		}
		draft = f.draft(n)
		view.Draft = &web.Draft{Words: "The guardrail “" + brief(n.Name) + "”, as it stands in its form. It is not saved.", Back: "/guardrails"}
	default:
		return nil, nil //nolint:nilnil // no draft is no error
	}
	view.Draft.Held = append(view.Draft.Held, web.KV{Name: "draft", Value: kind})
	held := rule.rule()
	for _, name := range slices.Sorted(maps.Keys(held)) {
		for _, value := range held[name] {
			view.Draft.Held = append(view.Draft.Held, web.KV{Name: name, Value: value})
		}
	}
	if form.Get("call_server") == "" && len(draft.Grants) > 0 {
		suggest(form, draft.Grants[0].Subject, draft.Grants[0].Resource)
	}
	if form.Get("call_server") == "" && len(draft.Guardrails) > 0 {
		suggest(form, draft.Guardrails[0].Subject, draft.Guardrails[0].Resource)
	}
	return &draft, nil
}

// suggest fills in what a rule names exactly.
func suggest(form callForm, subject policy.Subject, resource policy.Resource) {
	for field, names := range map[string][]string{
		"call_user": subject.Users, "call_groups": subject.Groups, "call_agent": subject.Agents, "call_model": subject.Models,
		"call_server": resource.Servers, "call_tool": resource.Names,
	} {
		if len(names) > 0 && !strings.Contains(names[0], "*") {
			form.Set(field, names[0])
		}
	}
}

func (s *Server) ask(c echo.Context, who identity.Principal, form callForm, against string, draft *delivery.Draft) (*web.Answer, error) {
	request, err := form.request()
	if err != nil {
		return nil, err
	}
	q := delivery.Question{Request: request}
	switch against {
	case againstDraft:
		q.Draft = draft
	case againstNow:
	default:
		q.AudienceID = against
	}
	e, err := s.delivery.Explain(c.Request().Context(), who, q)
	if problem.From(err).Code == "invalid_draft" {
		return nil, problem.New(problem.Invalid, "invalid_draft", "The draft cannot be judged yet. Go back to it.")
	}
	if err != nil {
		return nil, err
	}
	return answerView(who, form, e), nil
}

func answerView(who identity.Principal, form callForm, e delivery.Explanation) *web.Answer {
	a := &web.Answer{
		State: map[policy.Outcome]string{policy.Allow: "allowed", policy.Hold: "held", policy.Deny: "denied"}[e.Outcome], Sentence: e.Sentence(),
	}
	switch e.Against {
	case delivery.AgainstRevision:
		a.Against = fmt.Sprintf("Revision %d of %s", e.Revision, e.Audience)
	case delivery.AgainstDraft:
		a.Against = "The rules with the draft"
	case delivery.AgainstRegistry:
		a.Against = "The rules as they are now"
	}
	if e.Tool != nil {
		a.Risk = string(e.Tool.Risk)
	}
	for i := range e.Steps {
		step := &e.Steps[i]
		a.Steps = append(a.Steps, stepView(who, form, step, e.Wording))
		if step.Ruling == policy.RulingLimit && e.Outcome != policy.Deny {
			a.Obliges = append(a.Obliges, sentence(step.Words(e.Wording))+", by “"+step.Name+"”.")
		}
	}
	if len(e.Nearest) > 0 {
		a.Nearest = nearestView(who, form, e.Nearest[0])
	} else if e.Reason == policy.ReasonNoGrant && who.Can(identity.ChangeGrant, "") == nil {
		a.Nearest = &web.Nearest{Needs: []string{"No grant reaches it at all."}, Make: grantFor(form)}
	}
	return a
}

func stepView(who identity.Principal, form callForm, step *policy.Step, w policy.Wording) web.TraceStep {
	view := web.TraceStep{Kind: step.Rule, Name: step.Name, Words: sentence(step.Words(w)) + ".", Tone: "yes", Address: ruleAddress(who, step.ID)}
	switch step.Check {
	case "server":
		view.Kind, view.Name = "server", form.Get("call_server")
	case "tool":
		view.Kind, view.Name = "tool", form.Get("call_tool")
	case "definition":
		view.Kind, view.Name = "review", form.Get("call_tool")
	}
	switch {
	case step.Decides:
		view.Tone = "decides"
	case step.Ruling == policy.RulingMiss, step.Ruling == policy.RulingDeny:
		view.Tone = "no"
	}
	if step.Moot && step.Ruling != policy.RulingMiss {
		view.Words += " It was decided before."
	}
	return view
}

func nearestView(who identity.Principal, form callForm, near policy.Near) *web.Nearest {
	view := &web.Nearest{Name: near.Grant.Name, Address: ruleAddress(who, near.Grant.ID)}
	for _, need := range near.Needs {
		view.Needs = append(view.Needs, "The caller would have to "+need+".")
	}
	if len(near.Elsewhere) > 0 {
		view.Needs = append(view.Needs, "It does not reach this tool, only others of the server.")
	}
	if who.Can(identity.ChangeGrant, "") == nil {
		view.Make = grantFor(form)
	}
	return view
}

// grantFor is the address of the form of a grant that would let the call through, and little else.
func grantFor(form callForm) string {
	q := url.Values{"servers": {form.Get("call_server")}, "names": {form.Get("call_tool")}}
	for field, from := range map[string]string{"users": "call_user", "agents": "call_agent"} {
		if value := strings.TrimSpace(form.Get(from)); value != "" {
			q.Set(field, value)
		}
	}
	if kind := form.Get("call_kind"); kind != "" && kind != string(policy.KindTool) {
		q.Set("kinds", kind)
	}
	return "/grants/new?" + q.Encode()
}

// sentence begins words with a capital letter.
func sentence(words string) string {
	if words == "" {
		return words
	}
	return strings.ToUpper(words[:1]) + words[1:]
}
