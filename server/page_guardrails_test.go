package server

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

func TestAGuardrailIsMadeAndEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	ada, vera := w.signIn("ada"), w.signIn("vera")
	ada.get("/guardrails").want(t, http.StatusOK, `href="/guardrails/new"`)
	ada.get("/guardrails/new").want(t, http.StatusOK, "See what this changes", `value="approval" checked`)
	before := w.traces()
	form := url.Values{
		"name": {"Slow <deletes>"}, "groups": {"commerce\nshop"}, "except_groups": {"leads"}, "servers": {h.server.Name}, "labels": {""}, "names": {"*"},
		"risks": {"destructive"}, "effect": {"approval"}, "quorum": {"2"}, "deny_quorum": {""}, "pending": {"30"}, "owning_team": {"yes"},
		"approvers": {w.team.ID}, "calls": {"rubbish of another effect"}, "reason": {"INC-2207"}, "do": {"preview"},
	}
	preview := ada.post("/guardrails", form).want(t, http.StatusOK, "What it holds for today", "delete_orders", "Slow &lt;deletes&gt;")
	if strings.Contains(preview.body, "Nothing was changed.") {
		t.Errorf("the preview complains: %s", preview.shown())
	}
	vera.post("/guardrails", form).want(t, http.StatusForbidden)
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}

	form.Set("do", "create")
	ada.post("/guardrails", form).want(t, http.StatusSeeOther)
	ada.get("/guardrails").want(t, http.StatusOK, "“Slow &lt;deletes&gt;” holds.", "Approval by 2 people of the owning team or team Commerce", "except members of leads")
	if reader := vera.get("/guardrails").want(t, http.StatusOK, "Slow &lt;deletes&gt;"); strings.Contains(reader.body, "/end") || strings.Contains(reader.body, "/guardrails/new") {
		t.Errorf("a reader is offered to change: %s", reader.shown())
	}
	id := read[string](w, `select id from guardrails where name = 'Slow <deletes>'`)
	got := read[policy.Effect](w, `select effect from guardrails where id = $1`, id)
	want := policy.Effect{Approval: &policy.Approval{Quorum: 2, PendingSeconds: 1800, OwningTeam: true, Teams: []string{w.team.ID}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("effect (-want +got):\n%s", diff)
	}

	at := "/guardrails/" + id + "/end"
	before = w.traces()
	ada.post(at, url.Values{"version": {"1"}}).want(t, http.StatusBadRequest, "Nothing was changed.", "This loosens the rules.", "Say why, for the one who asks later.", `class="act" open`)
	stale := ada.post(at, url.Values{"version": {"7"}, "reason": {"it is <old>"}}).want(t, http.StatusConflict, "Somebody changed or ended this guardrail")
	if kept := stale.field(t, "reason"); !strings.Contains(stale.body, `value="it is &lt;old&gt;"`) {
		t.Errorf("the reason is not kept: %s", kept)
	}
	vera.post(at, url.Values{"version": {"1"}, "reason": {"x"}}).want(t, http.StatusForbidden)
	ada.post("/guardrails/grl_none/end", url.Values{"version": {"1"}, "reason": {"x"}}).want(t, http.StatusNotFound)
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	ada.post(at, url.Values{"version": {"1"}, "reason": {"the incident is over"}}).want(t, http.StatusSeeOther)
	ada.get("/guardrails").want(t, http.StatusOK, "“Slow &lt;deletes&gt;” is ended.")
	ada.post(at, url.Values{"version": {"1"}, "reason": {"again"}}).want(t, http.StatusConflict)
	if reason := read[string](w, `select detail ->> 'reason' from audit_events where kind = 'guardrail.ended'`); reason != "the incident is over" {
		t.Errorf("the log keeps %q", reason)
	}
}

func TestEveryEffectCanBeChosen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	for name, c := range map[string]struct {
		fields url.Values
		want   policy.Effect
	}{
		"deny":       {want: policy.Effect{Deny: true}},
		"mfa":        {want: policy.Effect{MFA: true}},
		"rate_limit": {fields: url.Values{"calls": {" 10 "}, "per": {"3600"}}, want: policy.Effect{RateLimit: &policy.RateLimit{Calls: 10, Seconds: 3600}}},
		"approval":   {fields: url.Values{"quorum": {"1"}, "owning_team": {"yes"}}, want: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}}},
		"step_up": {
			fields: url.Values{"fresh_max_age": {"5"}, "fresh_mfa": {"yes"}, "fresh_acr": {"phr, urn:acme:gold"}},
			want:   policy.Effect{StepUp: &policy.StepUp{MaxAgeSeconds: 300, MFA: true, ACR: []string{"phr", "urn:acme:gold"}}},
		},
	} {
		form := url.Values{"name": {name}, "everyone": {"yes"}, "labels": {"env=prod"}, "effect": {name}, "do": {"create"}}
		maps.Copy(form, c.fields)
		ada.post("/guardrails", form).want(t, http.StatusSeeOther)
		if diff := cmp.Diff(c.want, read[policy.Effect](w, `select effect from guardrails where name = $1`, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAGuardrailThatIsNotMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	w.unchanged(t)
	for name, c := range map[string]struct {
		change  url.Values
		invalid string // the field that is marked, has the focus and is explained
		words   string
	}{
		"no name":              {change: url.Values{"name": {""}}, invalid: "name"},
		"nobody":               {change: url.Values{"everyone": nil}, words: "Say who; tick everyone if you mean it."},
		"everyone and some":    {change: url.Values{"users": {"tomas"}}, words: "Either everyone or those you name, not both."},
		"a hidden user":        {change: url.Values{"everyone": nil, "users": {"tomas\nve\x1bra"}}, invalid: "users", words: "Line 2 holds a control character."},
		"no server":            {change: url.Values{"servers": {""}}, invalid: "servers", words: "Name servers or labels; * is all."},
		"another risk":         {change: url.Values{"risks": {"mild"}}, words: "Line 1 is not read_only"},
		"no effect":            {change: url.Values{"effect": nil}, words: "Choose what happens to the call."},
		"another effect":       {change: url.Values{"effect": {"allow"}}, words: "Choose what happens to the call."},
		"nobody to approve":    {change: url.Values{"owning_team": nil}, words: "Tick a team that decides"},
		"a made-up team":       {change: url.Values{"approvers": {"tem_none"}}, words: "There is no such team."},
		"no quorum":            {change: url.Values{"quorum": {""}}, invalid: "quorum", words: "Must be from 1 to 20."},
		"a quorum in words":    {change: url.Values{"quorum": {"two"}}, invalid: "quorum", words: "Must be from 1 to 20."},
		"a negative quorum":    {change: url.Values{"deny_quorum": {"-1"}}, invalid: "deny_quorum", words: "Must be from 1 to 20"},
		"a long wait":          {change: url.Values{"pending": {"99999999999999999999"}}, invalid: "pending", words: "Must be at most a week."},
		"a week and a minute":  {change: url.Values{"pending": {"10081"}}, invalid: "pending", words: "Must be at most a week."},
		"nothing fresh":        {change: url.Values{"effect": {"step_up"}}, invalid: "fresh_max_age", words: "Say how fresh the sign-in has to be"},
		"long ago":             {change: url.Values{"effect": {"step_up"}, "fresh_max_age": {"31d"}}, invalid: "fresh_max_age", words: "Write a time of at most 30 days"},
		"a class with a quote": {change: url.Values{"effect": {"step_up"}, "fresh_acr": {`a"b`}}, invalid: "fresh_acr", words: "holds a space"},
		"no other approvers":   {change: url.Values{"alt3_quorum": {"2"}}, words: "Tick a team: nobody could approve."},
		"no other quorum":      {change: url.Values{"alt0_owning_team": {"yes"}}, invalid: "alt0_quorum", words: "Must be from 1 to 20."},
		"a made-up other team": {change: url.Values{"alt0_quorum": {"1"}, "alt0_teams": {"tem_none"}}, words: "There is no such team."},
		"a late fallback":      {change: url.Values{"fallback_after": {"15m"}, "fallback_quorum": {"1"}, "fallback_owning_team": {"yes"}}, invalid: "fallback_after", words: "shorter than the request may wait"},
		"a vote long ago":      {change: url.Values{"vote_max_age": {"soon"}}, invalid: "vote_max_age", words: "Write a time of at most 30 days"},
		"a scope of nothing":   {change: url.Values{"scope_within": {"1h"}}, invalid: "scope_uses", words: "Must be from 1 to 1,000."},
		"a scope for long":     {change: url.Values{"scope_uses": {"5"}, "scope_within": {"25h"}}, invalid: "scope_within", words: "Write a time of at most a day"},
		"an argument hidden":   {change: url.Values{"scope_uses": {"5"}, "scope_within": {"1h"}, "scope_free": {"a\nb\x1b"}}, invalid: "scope_free", words: "Line 2 holds a control character."},
		"nobody's emergency":   {change: url.Values{"glass_review": {"4h"}}, words: "Tick a team: nobody could approve."},
		"a late review":        {change: url.Values{"glass_owning_team": {"yes"}, "glass_review": {"31d"}}, invalid: "glass_review", words: "Write a time of at most 30 days"},
		"no calls":             {change: url.Values{"effect": {"rate_limit"}, "per": {"60"}}, invalid: "calls", words: "Must be from 1 to 1,000,000."},
		"another time":         {change: url.Values{"effect": {"rate_limit"}, "calls": {"5"}, "per": {"week"}}, invalid: "per", words: "Must be from 1 to 86,400"},
		"a useless exception":  {change: url.Values{"except_declared": {"yes"}}, words: "The exception cannot be used"},
		"a reason of 2,000":    {change: url.Values{"reason": {strings.Repeat("x", 2000)}}, invalid: "reason", words: "At most 1000 characters."},
		"a name that reorders": {change: url.Values{"name": {"a\u202eb"}}, invalid: "name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form := url.Values{
				"name": {"Deletes"}, "everyone": {"yes"}, "servers": {"*"}, "effect": {"approval"}, "quorum": {"1"}, "owning_team": {"yes"}, "do": {"create"},
			}
			maps.Copy(form, c.change)
			a := ada.post("/guardrails", form).want(t, http.StatusBadRequest, "Nothing was changed.", c.words)
			if c.invalid != "" {
				a.wantInvalid(t, c.invalid, "")
			}
			if focus := strings.Count(a.body, " autofocus"); focus != 1 && c.invalid != "per" && form.Get("risks") == "" {
				t.Errorf("%d fields have the focus, want the first wrong one", focus)
			}
			for _, field := range []string{"name", "users", "quorum", "pending", "reason"} {
				if value := form.Get(field); value != "" && !strings.Contains(a.field(t, field), value) {
					t.Errorf("%s is not kept: %s", field, a.field(t, field))
				}
			}
			if form.Get("owning_team") != "" && !strings.Contains(a.field(t, "owning_team"), "checked") {
				t.Error("a tick is not kept")
			}
		})
	}
	ada.post("/guardrails", url.Values{"name": {"Deletes"}, "do": {"preview"}}).want(t, http.StatusOK, "Name servers or labels; * is all.")
}

// TestAnApprovalOfManyWays fills in all that is folded away, and changes one thing of it later: the rest stays as it was.
func TestAnApprovalOfManyWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	team := []string{w.team.ID}
	form := url.Values{
		"name": {"Many ways"}, "everyone": {"yes"}, "servers": {"*"}, "effect": {"approval"}, "quorum": {"1"}, "owning_team": {"yes"}, "pending": {"60"},
		"alt0_quorum": {""}, "alt2_quorum": {"2"}, "alt2_teams": team, "alt3_quorum": {"3"}, "alt3_owning_team": {"yes"},
		"fallback_after": {"90s"}, "fallback_quorum": {"1"}, "fallback_teams": team, "evidence": {"yes"}, "not_granter": {"yes"},
		"vote_max_age": {"5 m"}, "vote_mfa": {"yes"}, "vote_acr": {"phr"}, "scope_uses": {"5"}, "scope_within": {"2h"}, "scope_free": {"path\r\nmode"},
		"glass_teams": team, "glass_review": {"4h"}, "do": {"create"},
	}
	want := policy.Approval{
		Quorum: 1, OwningTeam: true, PendingSeconds: 3600, Alternatives: []policy.Approvers{{Quorum: 2, Teams: team}, {Quorum: 3, OwningTeam: true}},
		Fallback: &policy.Fallback{AfterSeconds: 90, Quorum: 1, Teams: team}, Evidence: true, NotGranter: true,
		StepUp: &policy.StepUp{MaxAgeSeconds: 300, MFA: true, ACR: []string{"phr"}}, Scope: &policy.Scope{MaxUses: 5, MaxSeconds: 7200, Free: []string{"path", "mode"}},
		BreakGlass: &policy.BreakGlass{Teams: team, ReviewSeconds: 14400},
	}
	ada.post("/guardrails", form).want(t, http.StatusSeeOther)
	kept := func() policy.Approval {
		return *read[policy.Effect](w, `select effect from guardrails where name = 'Many ways'`).Approval
	}
	if diff := cmp.Diff(want, kept()); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	id := read[string](w, `select id from guardrails where name = 'Many ways'`)
	ada.get("/guardrails").want(t, http.StatusOK, "one person of the owning team, or of 2 people of team Commerce, or of 3 people of the owning team, after 90 seconds also of")
	edit := ada.get("/guardrails/"+id+"/edit").want(t, http.StatusOK, `name="alt1_quorum" value="3"`, `name="alt2_quorum" value=""`, `value="90s"`, `value="4h"`)
	for _, field := range []string{"vote_max_age", "scope_uses", "fallback_after"} {
		if !strings.Contains(edit.field(t, field), form.Get(field)[:1]) {
			t.Errorf("%s is not shown: %s", field, edit.field(t, field))
		}
	}
	ada.get("/guardrails/new").want(t, http.StatusOK, `name="alt0_quorum"`, "More about who may approve")
	form.Set("id", id)
	form.Set("version", "1")
	form.Set("scope_uses", "6")
	form.Del("evidence")
	ada.post("/guardrails", form).want(t, http.StatusSeeOther)
	want.Scope.MaxUses, want.Evidence = 6, false
	if diff := cmp.Diff(want, kept()); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}
