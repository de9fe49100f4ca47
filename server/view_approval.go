package server

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"countersign/approvals"
	"countersign/web"
)

func approvalLine(a approvals.Summary) web.ApprovalLine {
	return web.ApprovalLine{
		ID: a.ID, Server: a.ServerName, Tool: a.ToolName, Risk: string(a.Risk), Agent: a.Agent, Caller: callerName(a),
		State: string(a.State), ExpiresAt: a.ExpiresAt, CreatedAt: a.CreatedAt, Left: max(0, a.ExpiresAt.Sub(a.Now)),
		Emergency: a.Emergency, Execution: string(a.Execution), Reason: a.StateReason, DecidedBy: a.DecidedBy,
	}
}

func callerName(a approvals.Summary) string {
	if a.CallerName != "" {
		return a.CallerName
	}
	return a.CallerSubject
}

func approvalView(d approvals.Detail) web.Approval {
	view := web.Approval{
		ApprovalLine: approvalLine(d.Summary), CallerID: d.CallerSubject + " at " + d.CallerIssuer, ServerID: d.ServerID, Kind: string(d.Kind), Total: d.ExpiresAt.Sub(d.CreatedAt).Round(time.Second),
		Arguments: d.Arguments, Digest: d.CallDigest.String(), Version: d.Version, Gateway: d.GatewayName, Model: d.Model,
		Evidence: d.Evidence, Definition: d.Definition.String(), DefinitionNo: d.DefinitionNumber, Teams: d.Teams,
		Quorum: d.Quorum, Approvals: d.Approvals, MayDecide: d.Standing.May && d.State == approvals.Pending, MayRevoke: d.MayRevoke,
		Standing: d.Standing.Sentence(), DecidedAt: d.DecidedAt, PurgedAt: d.PurgedAt, Revealed: d.RevealedAt, Cues: cues(d),
	}
	for _, rule := range d.Guardrails {
		view.Guardrails = append(view.Guardrails, rule.Name)
	}
	for _, rule := range d.Grants {
		view.Grants = append(view.Grants, rule.Name)
	}
	for _, v := range d.Votes {
		view.Votes = append(view.Votes, web.Vote{
			Name: v.Name, Decision: string(v.Decision), Reason: v.Reason, At: v.At, Counts: v.Counts, Scope: scopeWords(v.Scope), Emergency: v.Emergency,
		})
	}
	for _, e := range d.Timeline {
		view.Timeline = append(view.Timeline, eventView(e))
		view.LastEvent = max(view.LastEvent, e.ID)
	}
	if d.State == approvals.Pending {
		view.SignIn = signInAgain(d)
	}
	viewTerms(&view, d)
	viewDeeds(&view, d)
	return view
}

// signInAgain is where to sign in as the terms ask before one may approve, and come back; "" where that is not needed.
func signInAgain(d approvals.Detail) string {
	s := d.Standing.StepUp
	if d.Standing.Code != "step_up_required" || s == nil {
		if s = d.Deeds.Alone.StepUp; d.Deeds.Alone.Code != "step_up_required" || s == nil {
			return ""
		}
	}
	query := url.Values{"return": {"/approvals/" + d.ID}, "fresh": {"1"}}
	if s.MaxAgeSeconds > 0 {
		query.Set("max_age", strconv.Itoa(s.MaxAgeSeconds))
	}
	if len(s.ACR) > 0 {
		query.Set("acr_values", strings.Join(s.ACR, " "))
	}
	return "/auth/login?" + query.Encode()
}

func viewTerms(view *web.Approval, d approvals.Detail) {
	for _, w := range d.Ways {
		view.Ways = append(view.Ways, web.Way(w))
	}
	if f := d.Fallback; f != nil {
		view.Fallback = &web.Fallback{Way: web.Way(f.Way), Asked: f.Asked, At: f.At, In: max(0, f.At.Sub(d.Now))}
	}
	if m := d.MostScope; m != nil {
		view.MostScope = &web.Scope{Uses: m.Uses, Minutes: int(m.Within / time.Minute), Free: m.Free}
		view.Scoped = web.ScopeTyped{Uses: strconv.Itoa(m.Uses), Minutes: strconv.Itoa(int(m.Within / time.Minute))}
	}
	view.Given = scopeWords(d.GivenScope)
	if b := d.Previous; b != nil {
		view.Previous = &web.Previous{
			ID: b.ID, Caller: b.CallerName, DecidedBy: b.DecidedBy, SameCaller: b.SameCaller, SameAgent: b.SameAgent, At: b.DecidedAt, More: b.More,
		}
		for _, c := range b.Changes {
			view.Previous.Changes = append(view.Previous.Changes, web.ArgumentChange{Path: c.Path, Before: c.Before, After: c.After})
		}
	}
}

// scopeWords says what is approved beside the very call.
func scopeWords(s *approvals.Scope) string {
	if s == nil {
		return ""
	}
	words := fmt.Sprintf("Up to %d more calls within %s", s.Uses, spanWords(s.Within))
	if len(s.Free) > 0 {
		words += ", in which these arguments may differ: " + strings.Join(s.Free, ", ")
	}
	return words + "."
}

func viewDeeds(view *web.Approval, d approvals.Detail) {
	view.MayCancel, view.MayReveal, view.MaySettle = d.Deeds.MayCancel, d.Deeds.MayReveal, d.Deeds.MaySettle
	alone := d.Deeds.Alone
	view.MayAlone = alone.May
	if alone.May && alone.Code == "step_up_required" {
		view.Alone = alone.Sentence()
	}
	if r := d.Deeds.Review; r != nil {
		view.Review = new(web.EmergencyReview)
		*view.Review = reviewView(*r)
	}
	if w := d.Deeds.Allowance; w != nil {
		view.Used = d.Deeds.Used
		view.Allowance = &web.Allowance{
			ID: w.ID, ApprovalID: w.ApprovalID, State: string(w.State), Reason: w.StateReason, GivenBy: w.GivenBy, Free: w.Free,
			Uses: w.Uses, Used: w.Used, ExpiresAt: w.ExpiresAt, MayRevoke: w.MayRevoke,
		}
	}
}

func reviewView(r approvals.Review) web.EmergencyReview {
	caller := r.CallerName
	if caller == "" {
		caller = r.CallerSubject
	}
	return web.EmergencyReview{
		ID: r.ID, ApprovalID: r.ApprovalID, Server: r.ServerName, Tool: r.ToolName, Agent: r.Agent, Caller: caller, Execution: string(r.Execution),
		OpenedBy: r.OpenedByName, Reason: r.Reason, Ticket: r.Ticket, OpenedAt: r.OpenedAt, DueAt: r.DueAt, Overdue: r.Overdue, MayClose: r.MayClose,
		ClosedAt: r.ClosedAt, ClosedBy: r.ClosedByName, Finding: r.Finding, Note: r.Note,
	}
}

// cues are what an approver should notice first, the gravest before the others.
func cues(d approvals.Detail) []web.Cue {
	var out []web.Cue
	say := func(tone, icon, strong, text string) {
		out = append(out, web.Cue{Tone: tone, Icon: icon, Strong: strong, Text: text})
	}
	if d.Risk == "destructive" {
		say("destr", "octagon-alert", "Cannot be undone.", "This tool is classified as destructive.")
	}
	if d.Evidence == "asserted" {
		say("write", "triangle-alert", "Only asserted.", "The gateway says who calls; it sent no token that proves it.")
	}
	switch c := d.Cues; {
	case c.FirstOfTool:
		say("write", "triangle-alert", "First call of this tool.", "Nobody has called it here before.")
	case c.FirstByCaller:
		say("write", "triangle-alert", "First time.", callerName(d.Summary)+" has never called this tool before.")
	}
	if c := d.Cues; !c.OffHours.IsZero() {
		say("write", "clock", "Off hours.", "It was asked at "+c.OffHours.Format("15:04 MST")+".")
	}
	switch c := d.Cues; {
	case c.Unusual:
		say("write", "search", "Unusual size.", fmt.Sprintf("The arguments are %d bytes; 95 of 100 calls of this tool have at most %d.", len(d.Arguments), c.Usual))
	case len(d.Arguments) > 4<<10:
		say("write", "search", "Large call.", fmt.Sprintf("The arguments are %d bytes; read them to the end.", len(d.Arguments)))
	}
	if at := d.Cues.PinnedAt; at != nil {
		say("write", "git-compare", "The tool changed lately.", "Its definition was pinned on "+at.UTC().Format("2 January, 15:04 UTC")+".")
	}
	if n := d.Cues.Similar; n > 1 {
		say("", "layers", fmt.Sprintf("One of %d.", n), "So many calls of this tool were asked for by the same caller or agent within 10 minutes.")
	}
	return out
}
