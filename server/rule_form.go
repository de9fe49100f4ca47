package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/web"
)

// ruleForm is the form of a grant or a guardrail as it was sent.
type ruleForm struct{ url.Values }

// subject is whom a rule is about, or with a prefix whom it leaves out.
func (f ruleForm) subject(prefix string) policy.Subject {
	return policy.Subject{
		Users: lines(f.Get(prefix + "users")), Groups: lines(f.Get(prefix + "groups")),
		Agents: lines(f.Get(prefix + "agents")), Models: lines(f.Get(prefix + "models")),
	}
}

func (f ruleForm) resource() policy.Resource {
	r := policy.Resource{Servers: lines(f.Get("servers")), Labels: lines(f.Get("labels")), Names: lines(f.Get("names")), ToolLabels: lines(f.Get("tool_labels"))}
	for _, kind := range f.Values["kinds"] {
		r.Kinds = append(r.Kinds, policy.Kind(kind))
	}
	for _, risk := range f.Values["risks"] {
		r.Risks = append(r.Risks, policy.Risk(risk))
	}
	return r
}

func (f ruleForm) condition() string { return strings.TrimSpace(f.Get("condition")) }

// subjectView is what was typed of a subject.
func (f ruleForm) subjectView(prefix string) web.SubjectForm {
	return web.SubjectForm{Users: f.Get(prefix + "users"), Groups: f.Get(prefix + "groups"), Agents: f.Get(prefix + "agents"), Models: f.Get(prefix + "models")}
}

func (f ruleForm) ruleView() web.RuleForm {
	return web.RuleForm{
		Servers: f.Get("servers"), Labels: f.Get("labels"), Names: f.Get("names"), Condition: f.Get("condition"),
		ToolLabels: f.Get("tool_labels"), Risks: riskTicks(f.Values), Kinds: kindTicks(f.Values),
	}
}

// setSubject writes a subject into the form.
func (f ruleForm) setSubject(prefix string, s policy.Subject) {
	f.Set(prefix+"users", strings.Join(s.Users, "\n"))
	f.Set(prefix+"groups", strings.Join(s.Groups, "\n"))
	f.Set(prefix+"agents", strings.Join(s.Agents, "\n"))
	f.Set(prefix+"models", strings.Join(s.Models, "\n"))
}

// setResource writes a resource into the form.
func (f ruleForm) setResource(r policy.Resource) {
	f.Set("servers", strings.Join(r.Servers, "\n"))
	f.Set("labels", strings.Join(r.Labels, "\n"))
	f.Set("names", strings.Join(r.Names, "\n"))
	f.Set("tool_labels", strings.Join(r.ToolLabels, "\n"))
	for _, kind := range r.Kinds {
		f.Add("kinds", string(kind))
	}
	for _, risk := range r.Risks {
		f.Add("risks", string(risk))
	}
}

// notOfTheRule are fields that come with the form of a rule and say nothing of it.
var notOfTheRule = []string{"csrf", "do", "seen", "draft", "against", "ask"}

// rule is what stands in the fields of the rule itself.
func (f ruleForm) rule() url.Values {
	rule := maps.Clone(f.Values)
	for name, values := range rule {
		if slices.Contains(notOfTheRule, name) || strings.HasPrefix(name, "call_") || strings.Join(values, "") == "" {
			delete(rule, name)
		}
	}
	return rule
}

// mark stands for what the form says, so that what is saved is what the reader saw the effect of. Browsers write line
// breaks their own way.
func (f ruleForm) mark() string {
	sum := sha256.Sum256([]byte(strings.ReplaceAll(f.rule().Encode(), "%0D%0A", "%0A")))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// stale says whether the form was changed since the reader saw what it changes.
func (f ruleForm) stale() bool { return f.Get("seen") != "" && f.Get("seen") != f.mark() }

const (
	mostReached   = 60 // tools that a form shows
	mostSentences = 40
)

// wrongParts says everything that is wrong with the parts of a rule, each by itself: a compiler stops at the first.
func wrongParts(subject policy.Subject, resource policy.Resource, effect *policy.Effect) error {
	invalid := problem.New(problem.Invalid, "invalid_draft", "Nothing was changed.")
	note := func(part string, err error) {
		wrong, ok := errors.AsType[*policy.Error](err)
		switch {
		case err == nil:
		case ok && wrong.Field != "":
			invalid.Field(part+"."+wrong.Field, wrong.Error()+".")
		default:
			invalid.Field(part, err.Error()+".")
		}
	}
	note("subject", subject.Validate())
	note("resource", resource.Validate())
	if effect != nil {
		note("effect", effect.Validate())
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

// foresee says what a draft would change, for the page. What is wrong with the draft is told under the fields.
func (s *Server) foresee(c echo.Context, who identity.Principal, form ruleForm, draft delivery.Draft) (web.Foresight, web.Errors, error) {
	ctx := c.Request().Context()
	none := web.Foresight{}
	for _, g := range draft.Grants {
		if errs, _, wrong := ruleErrors(wrongParts(g.Subject, g.Resource, nil)); wrong {
			return none, errs, nil
		}
	}
	for _, g := range draft.Guardrails {
		if errs, _, wrong := ruleErrors(wrongParts(g.Subject, g.Resource, &g.Effect)); wrong {
			return none, errs, nil
		}
	}
	foreseen, err := s.delivery.Foresee(ctx, who, draft)
	if err != nil {
		errs, _, ok := ruleErrors(err)
		if !ok {
			return none, nil, err
		}
		return none, errs, nil
	}
	view := foresightView(foreseen)
	view.Seen, view.Stale = form.mark(), form.stale()
	s.linkWarnings(who, foreseen.Warnings, &view)
	resource := form.resource()
	if condition := form.condition(); condition != "" {
		view.Findings, err = s.registry.ConditionFindings(ctx, who, condition, resource)
		if errs, _, ok := ruleErrors(err); ok {
			return none, errs, nil
		} else if err != nil {
			return none, nil, err
		}
	}
	tools, err := s.registry.Preview(ctx, who, resource)
	if errs, _, ok := ruleErrors(err); ok {
		return none, errs, nil
	} else if err != nil {
		return none, nil, err
	}
	for _, t := range tools[:min(len(tools), mostReached)] {
		view.Tools = append(view.Tools, web.Reached{Server: t.ServerName, Name: t.Name, Kind: string(t.Kind), Risk: string(t.Risk), Held: t.Held})
	}
	view.MoreTools = len(tools) - len(view.Tools)
	return view, nil, nil
}

func foresightView(f delivery.Foresight) web.Foresight {
	view := web.Foresight{Foreseen: true, More: f.More}
	view.Sentences, view.More = sentenceViews(f.Sentences, f.More)
	for _, t := range f.Failing {
		view.Failing = append(view.Failing, web.TestLine{ID: t.ID, Name: t.Name, Why: t.Fault, State: "failed"})
	}
	return view
}

func sentenceViews(sentences []policy.Sentence, more int) ([]web.Sentence, int) {
	var list []web.Sentence
	for _, sentence := range sentences[:min(len(sentences), mostSentences)] {
		list = append(list, web.Sentence{Tone: string(sentence.Kind), Text: sentence.Text})
	}
	return list, more + len(sentences) - len(list)
}

func (s *Server) linkWarnings(who identity.Principal, warnings []policy.Warning, view *web.Foresight) {
	const most = 10
	for _, w := range warnings[:min(len(warnings), most)] {
		view.Warnings = append(view.Warnings, warningView(who, w))
	}
}

// warningView leads to the rule that a warning speaks of.
func warningView(who identity.Principal, w policy.Warning) web.Warning {
	view := web.Warning{Text: w.Message}
	switch {
	case w.Code == policy.WarnUnapprovable && who.Can(identity.ReadRegistry, "") == nil:
		view.Address, view.Act = "/teams", "Open teams"
	case ruleAddress(who, w.Rule) != "":
		view.Address, view.Act = ruleAddress(who, w.Rule), "Open the rule"
	}
	return view
}

// ruleAddress is where a rule is changed, by its id; "" for who may not, and for what is no stored rule.
func ruleAddress(who identity.Principal, id string) string {
	if who.Can(identity.ChangeGrant, "") != nil {
		return ""
	}
	switch {
	case strings.HasPrefix(id, "grt_"):
		return "/grants/" + id + "/edit"
	case strings.HasPrefix(id, "grd_"):
		return "/guardrails/" + id + "/edit"
	}
	return ""
}

// ruleFields says under which field of a form an error of the policy belongs, where its last name does not say it.
var ruleFields = map[string]string{
	"effect.approval.pending_seconds": "pending", "effect.approval.teams": "approvers",
	"effect.rate_limit.seconds": "per", "effect.token_budget.tokens": "tokens", "effect.token_budget.seconds": "tokens_per",
	"effect.tainted.labels": "tainted_labels", "effect.tainted.seconds": "tainted_within",
	"effect.max_response_bytes": "kilobytes", "effect.require": "require", "subject.everyone": "subject", "subject.allow_declared": "allow_declared",
	"resource": "servers", "except": "except", "except.everyone": "except", "except.allow_declared": "except",
}

var (
	lineOf = regexp.MustCompile(`^(.*)\[(\d+)\]$`)
	inList = regexp.MustCompile(`^((grants|guardrails)\[\d+\]\.?)+`)
)

// ruleErrors puts each error of a rule under its field, in words for the one who looks at the form.
func ruleErrors(err error) (errs web.Errors, status int, ok bool) {
	if err == nil {
		return nil, 0, false
	}
	found, status, ok := formErrors(err, nil)
	if !ok {
		return nil, status, false
	}
	errs = web.Errors{}
	for path, message := range found {
		field, words := ruleError(inList.ReplaceAllString(path, ""), inList.ReplaceAllString(message, ""))
		errs[field] = words
	}
	return errs, status, true
}

// ruleError is the field of one error, and its words.
func ruleError(path, message string) (field, words string) {
	_, inner, _ := strings.Cut(path, ".")
	last := path[strings.LastIndexByte(path, '.')+1:]
	for _, name := range []string{path, inner, last} {
		if rest, cut := strings.CutPrefix(strings.TrimPrefix(message, "The "), name+" "); cut && name != "" {
			message = rest
			break
		}
	}
	if at := lineOf.FindStringSubmatch(path); at != nil {
		line, _ := strconv.Atoi(at[2])
		path, message = at[1], "Line "+strconv.Itoa(line+1)+" "+message
	}
	if field, inside := approvalField(path); inside {
		return field, cmp.Or(approvalWords(field, message), ruleWords(field, message))
	}
	field, renamed := ruleFields[path]
	switch {
	case renamed:
	case strings.HasPrefix(path, "except."):
		field = "except_" + path[len("except."):]
	default:
		field = path[strings.LastIndexByte(path, '.')+1:]
	}
	return field, ruleWords(field, message)
}

// ruleWords says in the words of the form what the policy says in its own.
func ruleWords(field, message string) string {
	switch {
	case field == "servers" && strings.HasPrefix(message, "or labels"):
		return "Name servers or labels; * is all."
	case field == "approvers" && strings.HasPrefix(message, "or owning_team"):
		return "Tick a team that decides: nobody could approve."
	case field == "subject" && strings.HasPrefix(message, "cannot be said"):
		return "Either everyone or those you name, not both."
	case field == "subject":
		return "Say who; tick everyone if you mean it."
	case field == "allow_declared":
		return "This means something only with models."
	case field == "effect":
		return "Choose what happens to the call."
	}
	if message == "" {
		return message
	}
	return strings.ToUpper(message[:1]) + message[1:]
}

// number is what stands in a field, 0 when it is empty, and a number that nothing accepts when it is none.
func (f ruleForm) number(name string) int {
	text := strings.TrimSpace(f.Get(name))
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n > 1e9 {
		return -1
	}
	return int(n)
}

func riskTicks(form url.Values) []web.Option {
	return ticked(form["risks"], web.Option{Value: "read_only", Label: "Read-only"}, web.Option{Value: "write", Label: "Write"},
		web.Option{Value: "destructive", Label: "Destructive"})
}

func kindTicks(form url.Values) []web.Option {
	return ticked(form["kinds"], web.Option{Value: "tool", Label: "Tools"}, web.Option{Value: "prompt", Label: "Prompts"},
		web.Option{Value: "resource", Label: "Resources"})
}

func ticked(values []string, options ...web.Option) []web.Option {
	for i := range options {
		options[i].Selected = slices.Contains(values, options[i].Value)
	}
	return options
}

// ruleSaved sends the reader to a list of rules, with the way to watch the change reach the gateways.
func (s *Server) ruleSaved(c echo.Context, who identity.Principal, to, id, flash string) error {
	return s.doneInForce(c, to, flash, s.generationOf(c, who, id))
}

// generationOf is the generation of the policy that a change just made to something; 0 when that is not known, which is
// no reason to fail.
func (s *Server) generationOf(c echo.Context, who identity.Principal, id string) int64 {
	const lately = 20
	moves, err := s.registry.Moves(c.Request().Context(), who, "", lately)
	if err != nil || len(moves.Items) == 0 {
		return 0
	}
	for _, m := range moves.Items {
		if m.TargetID == id {
			return m.Generation
		}
	}
	return moves.Items[0].Generation
}

// refused shows a form once more when err is about what was typed or about what somebody else did meanwhile.
func refused(err error) (errs web.Errors, status int, again bool) {
	errs, status, ok := ruleErrors(err)
	if !ok || problem.Is(err, problem.Forbidden) {
		return nil, http.StatusInternalServerError, false
	}
	return errs, status, true
}
