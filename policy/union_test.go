package policy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"countersign/policy"
)

// voter is somebody who approves.
type voter struct {
	teams   []string
	granted bool // made the grant
	signIn  policy.Principal
}

// voting is who has approved a call, and after what time.
type voting struct {
	voters []voter
	proven bool // the caller has a token of its own
	waited int  // seconds
}

var drawVoting = rapid.Custom(func(t *rapid.T) voting {
	v := voting{proven: rapid.Bool().Draw(t, "proven"), waited: rapid.SampledFrom([]int{0, 2, 55, 100}).Draw(t, "waited")}
	for range rapid.IntRange(1, 4).Draw(t, "voters") {
		v.voters = append(v.voters, voter{
			teams:   rapid.SliceOfNDistinct(drawTeam, 0, 3, rapid.ID).Draw(t, "teams"),
			granted: rapid.IntRange(0, 4).Draw(t, "granted") == 0,
			signIn:  *drawRequest.Draw(t, "signed in as").Principal,
		})
	}
	return v
})

// approves reports whether a demand on a call to a server of team is met, in the plainest way there is to say it.
func (v voting) approves(a *policy.Approval, team string) bool {
	if a.Evidence && !v.proven || v.waited >= pending(*a) {
		return false
	}
	ways := append([]policy.Approvers{{Quorum: a.Quorum, OwningTeam: a.OwningTeam, Teams: a.Teams}}, a.Alternatives...)
	if f := a.Fallback; f != nil && v.waited >= f.AfterSeconds {
		ways = append(ways, policy.Approvers{Quorum: f.Quorum, OwningTeam: f.OwningTeam, Teams: f.Teams})
	}
	return slices.ContainsFunc(ways, func(w policy.Approvers) bool { return v.count(a, w.OwningTeam, w.Teams, team) >= w.Quorum })
}

// breaks reports whether one of them may approve alone.
func (v voting) breaks(a *policy.Approval, team string) bool {
	return a.BreakGlass != nil && (v.proven || !a.Evidence) && v.waited < pending(*a) &&
		v.count(a, a.BreakGlass.OwningTeam, a.BreakGlass.Teams, team) > 0
}

// count says how many of the voters count.
func (v voting) count(a *policy.Approval, owning bool, teams []string, team string) int {
	n := 0
	for _, one := range v.voters {
		member := owning && slices.Contains(one.teams, team) || slices.ContainsFunc(teams, func(t string) bool { return slices.Contains(one.teams, t) })
		signedIn := a.StepUp == nil || oracleSignedIn(*a.StepUp, policy.Request{Principal: &one.signIn, Now: noon})
		if member && signedIn && (!a.NotGranter || !one.granted) {
			n++
		}
	}
	return n
}

// demanded is what the guardrails of a world in which everybody is held demand of a call to a server of team t1.
func demanded(t *rapid.T, demands []*policy.Approval) *policy.Approval {
	src := policy.Source{Issuer: "https://countersign.example", Audience: "aud_1", MaxStaleSeconds: 60}
	s := storyServer{Team: "t1", Tools: map[string]policy.Risk{"read": policy.ReadOnly}}.server("a/x")
	src.Servers = []policy.Server{s}
	everyone := policy.Subject{Everyone: true}
	src.Grants = []policy.SourceGrant{grantTo("g1", everyone, []string{"*"}, nil)}
	for i, a := range demands {
		src.Guardrails = append(src.Guardrails, guardrailOn(fmt.Sprintf("r%d", i), everyone, policy.Effect{Approval: a}))
	}
	v := compile(t, src).Decide(policy.Request{
		Server: "a/x", Kind: policy.KindTool, Name: "read", Principal: &policy.Principal{Subject: "ann"}, Now: noon,
	})
	if v.Outcome != policy.Hold {
		t.Fatalf("%v %s", v.Outcome, v.Reason)
	}
	return v.Approval
}

// TestWhoeverApprovesByAllApprovesByEach has random people approve, by what all guardrails demand together, by what each
// of them demands, and by what all but one demand.
func TestWhoeverApprovesByAllApprovesByEach(t *testing.T) {
	t.Parallel()
	rapid.Check(t, whoeverApprovesByAllApprovesByEach)
}

func FuzzWhoeverApprovesByAllApprovesByEach(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(whoeverApprovesByAllApprovesByEach))
}

func whoeverApprovesByAllApprovesByEach(t *rapid.T) {
	demands := rapid.SliceOfN(drawApproval, 1, 5).Draw(t, "demands")
	parts := make([]*policy.Approval, 0, len(demands)+1)
	parts = append(parts, demands...)
	if len(demands) > 1 {
		one := rapid.IntRange(0, len(demands)-1).Draw(t, "left out")
		parts = append(parts, demanded(t, slices.Delete(slices.Clone(demands), one, one+1)))
	}
	all := demanded(t, demands)
	checkWays(t, all)
	for range 20 {
		v := drawVoting.Draw(t, "voting")
		for i, part := range parts {
			if v.approves(all, "t1") && !v.approves(part, "t1") || v.breaks(all, "t1") && !v.breaks(part, "t1") {
				t.Errorf("%+v approve by %+v and not by part %d, %+v", v, all, i, part)
			}
		}
	}
	for i, part := range parts {
		if wider(all, part) {
			t.Errorf("%+v allows more than part %d, %+v", all, i, part)
		}
	}
}

// checkWays holds what is united to its form.
func checkWays(t *rapid.T, a *policy.Approval) {
	ways := a.Ways()
	if len(ways) > 16 || len(ways) != 1+len(a.Alternatives) {
		t.Errorf("%d ways: %+v", len(ways), ways)
	}
	for i, w := range ways {
		if !slices.IsSorted(w.Teams) || w.OwningTeam != slices.Contains(w.Teams, "t1") || len(ways) > 1 && len(w.Teams) == 0 || w.Quorum < 1 {
			t.Errorf("way %d: %+v", i, w)
		}
	}
	if f := a.Fallback; f != nil && (len(f.Teams) == 0 || f.AfterSeconds >= pending(*a)) {
		t.Errorf("fallback %+v", f)
	}
}

// wider reports whether a lets pass, or lets be decided later or by more denials, what b does not.
func wider(a, b *policy.Approval) bool {
	if a.DenyQuorum > max(b.DenyQuorum, 1) || pending(*a) > pending(*b) {
		return true
	}
	s, of := a.Scope, b.Scope
	if s == nil {
		return false
	}
	return of == nil || s.MaxUses > of.MaxUses || s.MaxSeconds > of.MaxSeconds ||
		slices.ContainsFunc(s.Free, func(name string) bool { return !slices.Contains(of.Free, name) })
}

func TestStepUpMet(t *testing.T) {
	t.Parallel()
	signed := func(ago time.Duration, acr string, amr ...string) *policy.Principal {
		return &policy.Principal{AuthTime: noon.Add(-ago), ACR: acr, AMR: amr}
	}
	for _, c := range []struct {
		what string
		asks policy.StepUp
		by   *policy.Principal
		want bool
	}{
		{"nothing asked", policy.StepUp{}, &policy.Principal{}, true},
		{"nobody", policy.StepUp{}, nil, false},
		{"to the second", policy.StepUp{MaxAgeSeconds: 60}, signed(time.Minute, ""), true},
		{"a moment too old", policy.StepUp{MaxAgeSeconds: 60}, signed(time.Minute+1, ""), false},
		{"a clock ahead", policy.StepUp{MaxAgeSeconds: 60}, signed(-time.Minute, ""), true},
		{"a clock far ahead", policy.StepUp{MaxAgeSeconds: 60}, signed(-time.Minute-1, ""), false},
		{"when is not known", policy.StepUp{MaxAgeSeconds: 60}, &policy.Principal{}, false},
		{"ages ago", policy.StepUp{MaxAgeSeconds: 60}, &policy.Principal{AuthTime: time.Unix(-1<<40, 0)}, false},
		{"two factors", policy.StepUp{MFA: true}, signed(time.Hour, "", "pwd", "otp"), true},
		{"one factor", policy.StepUp{MFA: true}, signed(0, "", "pwd"), false},
		{"a class", policy.StepUp{ACR: []string{"phr", "phrh"}}, signed(0, "phrh"), true},
		{"another class", policy.StepUp{ACR: []string{"phr"}}, signed(0, "PHR"), false},
		{"no class", policy.StepUp{ACR: []string{"phr", ""}}, signed(0, ""), false},
		{"a list that nobody is in", policy.StepUp{ACR: []string{}}, signed(0, ""), false},
		{"all of it", policy.StepUp{MaxAgeSeconds: 60, MFA: true, ACR: []string{"phr"}}, signed(time.Second, "phr", "mfa"), true},
	} {
		if got := c.asks.Met(c.by, noon); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
