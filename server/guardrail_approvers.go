package server

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"countersign/desired"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

// The form of a guardrail has, folded away, who else may approve and how. What is empty there is not said.

// mostAlternatives is how many sets of approvers a form has beside the first.
const mostAlternatives = 7

// approval is the demand for an approval that the form says.
func (f guardrailForm) approval() *policy.Approval {
	a := &policy.Approval{
		Quorum: f.number("quorum"), DenyQuorum: f.number("deny_quorum"), PendingSeconds: 60 * f.number("pending"),
		OwningTeam: f.Get("owning_team") != "", Teams: f.Values["approvers"],
		Alternatives: f.alternatives(), Evidence: f.Get("evidence") != "", NotGranter: f.Get("not_granter") != "", StepUp: f.stepUp("vote_"),
	}
	if f.said("fallback_after", "fallback_quorum", "fallback_owning_team", "fallback_teams") {
		way := f.approvers("fallback_")
		a.Fallback = &policy.Fallback{AfterSeconds: f.span("fallback_after"), Quorum: way.Quorum, OwningTeam: way.OwningTeam, Teams: way.Teams}
	}
	if f.said("scope_uses", "scope_within", "scope_free") {
		a.Scope = &policy.Scope{MaxUses: f.number("scope_uses"), MaxSeconds: f.span("scope_within"), Free: lines(f.Get("scope_free"))}
	}
	if f.said("glass_owning_team", "glass_teams", "glass_review") {
		way := f.approvers("glass_")
		a.BreakGlass = &policy.BreakGlass{OwningTeam: way.OwningTeam, Teams: way.Teams, ReviewSeconds: f.span("glass_review")}
	}
	return a
}

// said reports whether any of some fields is filled in.
func (f guardrailForm) said(fields ...string) bool {
	return slices.ContainsFunc(fields, func(field string) bool { return strings.TrimSpace(strings.Join(f.Values[field], "")) != "" })
}

func (f guardrailForm) approvers(prefix string) policy.Approvers {
	return policy.Approvers{
		Quorum: f.number(prefix + "quorum"), OwningTeam: f.Get(prefix+"owning_team") != "", Teams: f.Values[prefix+"teams"],
	}
}

// alternatives are those sets that are filled in.
func (f guardrailForm) alternatives() []policy.Approvers {
	var all []policy.Approvers
	for i := range mostAlternatives {
		if prefix := alternative(i); f.said(prefix+"quorum", prefix+"owning_team", prefix+"teams") {
			all = append(all, f.approvers(prefix))
		}
	}
	return all
}

func alternative(i int) string { return fmt.Sprintf("alt%d_", i) }

// stepUp is how somebody has to have signed in; nil where nothing is said of that.
func (f guardrailForm) stepUp(prefix string) *policy.StepUp {
	if !f.said(prefix+"max_age", prefix+"mfa", prefix+"acr") {
		return nil
	}
	return &policy.StepUp{MaxAgeSeconds: f.span(prefix + "max_age"), MFA: f.Get(prefix+"mfa") != "", ACR: lines(f.Get(prefix + "acr"))}
}

// span is a time that stands in a field, in seconds: 0 when it is empty, -1 when it is none. A bare number is of minutes.
func (f guardrailForm) span(field string) int {
	text := strings.ReplaceAll(f.Get(field), " ", "")
	if text == "" {
		return 0
	}
	if minutes, err := strconv.Atoi(text); err == nil && minutes > 0 && minutes < 1e6 {
		return 60 * minutes
	}
	span, err := desired.ParseSpan(text)
	if err != nil {
		return -1
	}
	return int(span)
}

// setApproval writes an approval into the form.
func (f guardrailForm) setApproval(a *policy.Approval) {
	f.setNumber("quorum", a.Quorum)
	f.setNumber("deny_quorum", a.DenyQuorum)
	f.setNumber("pending", a.PendingSeconds/60)
	f.Values["approvers"] = a.Teams
	f.tick("owning_team", a.OwningTeam)
	for i, way := range a.Alternatives {
		f.setApprovers(alternative(i), way)
	}
	f.tick("evidence", a.Evidence)
	f.tick("not_granter", a.NotGranter)
	f.setStepUp("vote_", a.StepUp)
	if b := a.Fallback; b != nil {
		f.setSpan("fallback_after", b.AfterSeconds)
		f.setApprovers("fallback_", policy.Approvers{Quorum: b.Quorum, OwningTeam: b.OwningTeam, Teams: b.Teams})
	}
	if s := a.Scope; s != nil {
		f.setNumber("scope_uses", s.MaxUses)
		f.setSpan("scope_within", s.MaxSeconds)
		f.Set("scope_free", strings.Join(s.Free, "\n"))
	}
	if b := a.BreakGlass; b != nil {
		f.setApprovers("glass_", policy.Approvers{OwningTeam: b.OwningTeam, Teams: b.Teams})
		f.setSpan("glass_review", b.ReviewSeconds)
	}
}

func (f guardrailForm) setApprovers(prefix string, a policy.Approvers) {
	f.setNumber(prefix+"quorum", a.Quorum)
	f.tick(prefix+"owning_team", a.OwningTeam)
	f.Values[prefix+"teams"] = a.Teams
}

func (f guardrailForm) setStepUp(prefix string, s *policy.StepUp) {
	if s != nil {
		f.setSpan(prefix+"max_age", s.MaxAgeSeconds)
		f.tick(prefix+"mfa", s.MFA)
		f.Set(prefix+"acr", strings.Join(s.ACR, ", "))
	}
}

func (f guardrailForm) setNumber(field string, n int) {
	if n != 0 {
		f.Set(field, strconv.Itoa(n))
	}
}

func (f guardrailForm) setSpan(field string, seconds int) {
	if seconds != 0 {
		f.Set(field, desired.Span(seconds).String())
	}
}

func (f guardrailForm) tick(field string, ticked bool) {
	if ticked {
		f.Set(field, "yes")
	}
}

// approvalView is what was typed of an approval, with room for one more set of approvers.
func (f guardrailForm) approvalView(teams []registry.Team) web.ApprovalForm {
	view := web.ApprovalForm{
		Evidence: f.Get("evidence") != "", NotGranter: f.Get("not_granter") != "", Voter: f.stepUpView("vote_"),
		Fallback: f.approversView("fallback_", "fallback_", teams), FallbackAfter: f.Get("fallback_after"),
		ScopeUses: f.Get("scope_uses"), ScopeWithin: f.Get("scope_within"), ScopeFree: f.Get("scope_free"),
		Emergency: f.approversView("glass_", "glass_", teams), Review: f.Get("glass_review"),
	}
	for i := range mostAlternatives {
		prefix := alternative(i)
		if f.said(prefix+"quorum", prefix+"owning_team", prefix+"teams") {
			view.Alternatives = append(view.Alternatives, f.approversView(prefix, alternative(len(view.Alternatives)), teams))
		}
	}
	view.Open = len(view.Alternatives) > 0 || f.said("evidence", "not_granter", "vote_max_age", "vote_mfa", "vote_acr", "fallback_after", "fallback_quorum",
		"fallback_owning_team", "fallback_teams", "scope_uses", "scope_within", "scope_free", "glass_owning_team", "glass_teams", "glass_review")
	if n := len(view.Alternatives); n < mostAlternatives {
		view.Alternatives = append(view.Alternatives, guardrailForm{}.approversView("", alternative(n), teams))
	}
	return view
}

// approversView shows the fields of one prefix under another.
func (f guardrailForm) approversView(prefix, as string, teams []registry.Team) web.ApproversForm {
	return web.ApproversForm{
		Prefix: as, Quorum: f.Get(prefix + "quorum"), OwningTeam: f.Get(prefix+"owning_team") != "", Teams: teamTicks(teams, f.Values[prefix+"teams"]),
	}
}

func (f guardrailForm) stepUpView(prefix string) web.StepUpForm {
	return web.StepUpForm{Prefix: prefix, MaxAge: f.Get(prefix + "max_age"), MFA: f.Get(prefix+"mfa") != "", ACR: f.Get(prefix + "acr")}
}

func teamTicks(teams []registry.Team, ticked []string) []web.Option {
	var options []web.Option
	for _, team := range teams {
		options = append(options, web.Option{Value: team.ID, Label: team.Name, Selected: slices.Contains(ticked, team.ID)})
	}
	return options
}

var partOfApproval = regexp.MustCompile(`^effect(\.approval)?\.(alternatives\[(\d+)\]|fallback|step_up|scope|break_glass)(?:\.(\w+))?$`)

// approvalField is the field of the form for a path of the policy inside of an approval, or of a step-up.
func approvalField(path string) (field string, ok bool) {
	at := partOfApproval.FindStringSubmatch(path)
	if at == nil {
		return "", false
	}
	ofApproval, part, member := at[1] != "", at[2], at[4]
	name := strings.TrimSuffix(member, "_seconds")
	switch {
	case at[3] != "":
		return "alt" + at[3] + "_" + name, true
	case part == "fallback":
		return "fallback_" + name, true
	case part == "scope":
		return map[string]string{"max_uses": "scope_uses", "max_seconds": "scope_within", "free": "scope_free"}[member], true
	case part == "break_glass":
		return "glass_" + name, true
	case ofApproval:
		return "vote_" + cmp.Or(name, "max_age"), true
	}
	return "fresh_" + cmp.Or(name, "max_age"), true
}

// approvalWords says what is wrong with such a field in the words of the form, "" where the policy's will do.
func approvalWords(field, message string) string {
	switch {
	case strings.HasSuffix(field, "_teams") && strings.HasPrefix(message, "or owning_team"):
		return "Tick a team: nobody could approve."
	case field == "fallback_after":
		return "Write a time, as 5m or 90s, that is shorter than the request may wait."
	case strings.HasSuffix(field, "_max_age") && strings.HasPrefix(message, "asks for nothing"), field == "fresh_max_age" && message == "":
		return "Say how fresh the sign-in has to be, or what else it needs."
	case strings.HasSuffix(field, "_max_age"), field == "glass_review":
		return "Write a time of at most 30 days, as 5m, 12h or 7d."
	case field == "tainted_within":
		return "Write a time of at most a day, as 30m or 2h."
	case field == "scope_within":
		return "Write a time of at most a day, as 30m or 2h."
	}
	return ""
}
