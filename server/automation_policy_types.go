package server

import (
	"encoding/json"
	"time"

	"countersign/delivery"
	"countersign/policy"
)

// callJSON is a call that nobody makes.
type callJSON struct {
	Principal principalJSON   `json:"principal"`
	Server    string          `json:"server" doc:"Its name."`
	Kind      policy.Kind     `json:"kind,omitempty" doc:"tool, unless given."`
	Name      string          `json:"name" doc:"Of the tool or prompt; of a resource its URI."`
	Arguments json.RawMessage `json:"arguments,omitempty" doc:"One JSON object."`
	At        *time.Time      `json:"at,omitempty" doc:"The present, unless given."`
}

// principalJSON is who calls. What is left out is not known.
type principalJSON struct {
	User      string           `json:"user,omitempty" doc:"The subject, as rules name users."`
	Issuer    string           `json:"issuer,omitempty"`
	Groups    []string         `json:"groups,omitzero" doc:"Without it they are not known; an empty list is no group."`
	Agent     string           `json:"agent,omitempty"`
	Model     string           `json:"model,omitempty"`
	Assurance policy.Assurance `json:"assurance,omitempty" doc:"Who vouches for the model; nobody, unless given."`
	AMR       []string         `json:"amr,omitempty" doc:"How they signed in, such as pwd and otp."`
	AuthTime  *time.Time       `json:"auth_time,omitempty"`
	Tainted   []string         `json:"tainted,omitzero" doc:"Labels of servers of which something came into the session lately. Without it that is not known; an empty list is nothing."`
}

func (c callJSON) given() delivery.Given {
	return delivery.Given{
		Principal: delivery.GivenPrincipal(c.Principal), Server: c.Server, Kind: c.Kind, Name: c.Name, Arguments: c.Arguments, At: c.At,
	}
}

func callOf(g delivery.Given) callJSON {
	return callJSON{
		Principal: principalJSON(g.Principal), Server: g.Server, Kind: g.Kind, Name: g.Name, Arguments: g.Arguments, At: g.At,
	}
}

// draftJSON is a change of rules that is not saved.
type draftJSON struct {
	Grants        []draftGrantJSON     `json:"grants,omitempty" doc:"To be made, or changed where the id is that of an open one."`
	Guardrails    []draftGuardrailJSON `json:"guardrails,omitempty"`
	EndGrants     []string             `json:"end_grants,omitempty" doc:"Ids."`
	EndGuardrails []string             `json:"end_guardrails,omitempty" doc:"Ids."`
}

type draftGrantJSON struct {
	ID        string          `json:"id,omitempty" doc:"Of the open grant that it changes; none: it is new."`
	Name      string          `json:"name,omitempty"`
	Subject   policy.Subject  `json:"subject"`
	Resource  policy.Resource `json:"resource"`
	Condition string          `json:"condition,omitempty"`
	NotBefore *time.Time      `json:"not_before,omitempty"`
	NotAfter  *time.Time      `json:"not_after,omitempty"`
}

type draftGuardrailJSON struct {
	ID        string          `json:"id,omitempty" doc:"Of the open guardrail that it changes; none: it is new."`
	Name      string          `json:"name,omitempty"`
	Subject   policy.Subject  `json:"subject"`
	Except    policy.Subject  `json:"except,omitzero"`
	Resource  policy.Resource `json:"resource"`
	Condition string          `json:"condition,omitempty"`
	Effect    policy.Effect   `json:"effect"`
}

// draft is nil for none.
func (d *draftJSON) draft() *delivery.Draft {
	if d == nil {
		return nil
	}
	out := &delivery.Draft{EndGrants: d.EndGrants, EndGuardrails: d.EndGuardrails}
	for _, g := range d.Grants {
		out.Grants = append(out.Grants, policy.SourceGrant{
			Grant: policy.Grant{
				ID: g.ID, Name: g.Name, Subject: g.Subject, NotBefore: g.NotBefore, NotAfter: g.NotAfter, Condition: g.Condition,
			},
			Resource: g.Resource,
		})
	}
	for _, g := range d.Guardrails {
		out.Guardrails = append(out.Guardrails, policy.SourceGuardrail{
			Guardrail: policy.Guardrail{ID: g.ID, Name: g.Name, Subject: g.Subject, Except: g.Except, Condition: g.Condition, Effect: g.Effect},
			Resource:  g.Resource,
		})
	}
	return out
}

type questionJSON struct {
	callJSON
	Audience string     `json:"audience,omitempty" doc:"Id: by what is in force there. Without it and a gateway, by the registry as it is now."`
	Gateway  string     `json:"gateway,omitempty" doc:"Id: by what is in force for its audience."`
	Draft    *draftJSON `json:"draft,omitempty" doc:"By the registry as it is now, with this in it."`
}

// explanationJSON is what would become of a call, and why.
type explanationJSON struct {
	Outcome          delivery.ExpectedOutcome `json:"outcome"`
	Reason           policy.Reason            `json:"reason"`
	Sentence         string                   `json:"sentence" doc:"The verdict in words."`
	Against          delivery.Against         `json:"against" doc:"What it was held against."`
	Audience         string                   `json:"audience,omitempty"`
	AudienceName     string                   `json:"audience_name,omitempty"`
	Epoch            int64                    `json:"epoch"`
	Revision         int64                    `json:"revision,omitempty"`
	Generation       int64                    `json:"generation" doc:"Of the registry, up to which it speaks."`
	At               time.Time                `json:"at" doc:"Of the call."`
	Approval         *policy.Approval         `json:"approval,omitempty" doc:"What a held call needs."`
	StepUp           *policy.StepUp           `json:"step_up,omitempty" doc:"Of step_up_required: how the caller has to sign in."`
	Limits           []string                 `json:"limits" doc:"Names of the guardrails that would count the call."`
	MaxResponseBytes int64                    `json:"max_response_bytes,omitempty"`
	Steps            []stepJSON               `json:"steps" doc:"Everything that was looked at, in order."`
	Nearest          []nearJSON               `json:"nearest" doc:"If no grant allows it: those that miss by the least."`
}

type stepJSON struct {
	Stage     policy.Stage       `json:"stage"`
	Check     string             `json:"check,omitempty" doc:"server, tool or definition, where it is no rule."`
	Rule      string             `json:"rule,omitempty" doc:"grant or guardrail."`
	ID        string             `json:"id,omitempty" doc:"Of the rule."`
	Name      string             `json:"name,omitempty" doc:"Of the rule."`
	Tool      string             `json:"tool,omitempty" doc:"By which the call is judged: of a resource perhaps a template."`
	Ruling    policy.Ruling      `json:"ruling"`
	Miss      policy.Miss        `json:"miss,omitempty" doc:"Which part does not match."`
	Condition *policy.Evaluation `json:"condition,omitempty"`
	Require   *policy.Evaluation `json:"require,omitempty"`
	Decides   bool               `json:"decides,omitempty" doc:"This settled it."`
	Moot      bool               `json:"moot,omitempty" doc:"Something before has denied already."`
	Text      string             `json:"text" doc:"The step in words."`
}

type nearJSON struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Needs     []string `json:"needs" doc:"What the caller would need, in words."`
	Elsewhere []string `json:"elsewhere,omitempty" doc:"It reaches not what was asked for but these."`
	Text      string   `json:"text"`
}

func explanationOf(e delivery.Explanation) explanationJSON {
	out := explanationJSON{
		Outcome: delivery.ExpectedOutcome(e.Outcome.String()), Reason: e.Reason, Sentence: e.Sentence(), Against: e.Against,
		Audience: e.AudienceID, AudienceName: e.Audience, Epoch: e.Epoch, Revision: e.Revision, Generation: e.Generation, At: e.At,
		Approval: e.Approval, StepUp: e.StepUp, Limits: orNone(e.Counted), MaxResponseBytes: e.MaxResponseBytes, Steps: []stepJSON{}, Nearest: []nearJSON{},
	}
	for _, s := range e.Steps {
		step := stepJSON{
			Stage: s.Stage, Check: s.Check, Rule: s.Rule, ID: s.ID, Name: s.Name, Ruling: s.Ruling, Miss: s.Miss,
			Condition: s.Condition, Require: s.Require, Decides: s.Decides, Moot: s.Moot, Text: s.Words(e.Wording),
		}
		if s.Tool != nil {
			step.Tool = s.Tool.Name
		}
		out.Steps = append(out.Steps, step)
	}
	for _, n := range e.Nearest {
		out.Nearest = append(out.Nearest, nearJSON{
			ID: n.Grant.ID, Name: n.Grant.Name, Needs: orNone(n.Needs), Elsewhere: n.Elsewhere, Text: n.Words(),
		})
	}
	return out
}
