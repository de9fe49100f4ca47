package server

import (
	"time"

	"countersign/usage"
)

// totalsJSON is what calls add up to.
type totalsJSON struct {
	Calls          int64       `json:"calls"`
	Allowed        int64       `json:"allowed"`
	Denied         int64       `json:"denied"`
	Held           int64       `json:"held"`
	Failed         int64       `json:"failed" doc:"Allowed, and then without an answer."`
	Errors         int64       `json:"errors" doc:"Of those that were allowed: the server answered with an error."`
	RequestTokens  int64       `json:"request_tokens" doc:"Estimated, of arguments: what models wrote."`
	ResponseTokens int64       `json:"response_tokens" doc:"Estimated, of results: what models read."`
	Costs          []moneyJSON `json:"costs" doc:"At the prices in force now."`
	UnpricedTokens int64       `json:"unpriced_tokens" doc:"Of models without a price: what they cost is not known."`
	AddedP50US     int64       `json:"added_p50_us" doc:"By gateways. Times are estimates, and 0 where no call reached a server."`
	AddedP95US     int64       `json:"added_p95_us"`
	TookP50US      int64       `json:"took_p50_us" doc:"All of it."`
	TookP95US      int64       `json:"took_p95_us"`
}

type moneyJSON struct {
	Currency string `json:"currency"`
	Amount   string `json:"amount" doc:"Decimal."`
}

func totalsOf(t usage.Totals) totalsJSON {
	out := totalsJSON{
		Calls: t.Calls, Allowed: t.Allowed, Denied: t.Denied, Held: t.Held, Failed: t.Failed, Errors: t.Errors,
		RequestTokens: t.RequestTokens, ResponseTokens: t.ResponseTokens, Costs: []moneyJSON{}, UnpricedTokens: t.Cost.Unpriced,
		AddedP50US: t.AddedP50.Microseconds(), AddedP95US: t.AddedP95.Microseconds(),
		TookP50US: t.TookP50.Microseconds(), TookP95US: t.TookP95.Microseconds(),
	}
	for _, m := range t.Cost.Amounts {
		out.Costs = append(out.Costs, moneyJSON{Currency: m.Currency, Amount: m.Amount()})
	}
	return out
}

type usageJSON struct {
	From      time.Time      `json:"from"`
	To        time.Time      `json:"to"`
	Totals    totalsJSON     `json:"totals"`
	Before    *totalsJSON    `json:"before,omitempty" doc:"Of the span of the same length before; not there where it is not kept."`
	By        string         `json:"by,omitempty"`
	Rows      []usageRowJSON `json:"rows,omitempty" doc:"The most calls first."`
	Rest      *totalsJSON    `json:"rest,omitempty" doc:"Of the names beyond."`
	RestNames int            `json:"rest_names,omitempty" doc:"How many these are."`
}

type usageRowJSON struct {
	Name   string    `json:"name" doc:"Empty where calls have none."`
	Server string    `json:"server,omitempty" doc:"Of a tool."`
	LastAt time.Time `json:"last_at"`
	totalsJSON
}

type seriesJSON struct {
	StepSeconds int64       `json:"step_seconds"`
	Items       []pointJSON `json:"items" doc:"No step is left out."`
}

type pointJSON struct {
	At time.Time `json:"at"`
	totalsJSON
}

type recordJSON struct {
	CallID         string    `json:"call_id"`
	At             time.Time `json:"at"`
	Gateway        string    `json:"gateway"`
	GatewayName    string    `json:"gateway_name"`
	Instance       string    `json:"instance,omitempty"`
	Server         string    `json:"server"`
	Tool           string    `json:"tool"`
	Kind           string    `json:"kind"`
	Decision       string    `json:"decision"`
	Reason         string    `json:"reason,omitempty"`
	Subject        string    `json:"subject,omitempty"`
	Agent          string    `json:"agent,omitempty"`
	Model          string    `json:"model,omitempty"`
	ModelAssurance string    `json:"model_assurance,omitempty"`
	Session        string    `json:"session,omitempty"`
	TraceID        string    `json:"trace_id,omitempty"`
	Revision       int64     `json:"revision"`
	RequestBytes   int64     `json:"request_bytes"`
	ResponseBytes  int64     `json:"response_bytes"`
	RequestTokens  int64     `json:"request_tokens"`
	ResponseTokens int64     `json:"response_tokens"`
	DurationUS     int64     `json:"duration_us"`
	UpstreamUS     int64     `json:"upstream_us" doc:"0: not measured."`
	ToolError      bool      `json:"tool_error"`
	Filtered       int       `json:"filtered"`
	ReceivedAt     time.Time `json:"received_at"`
}

func recordOf(r usage.Record) recordJSON {
	return recordJSON{
		CallID: r.CallID, At: r.At, Gateway: r.GatewayID, GatewayName: r.GatewayName, Instance: r.Instance, Server: r.Server, Tool: r.Tool,
		Kind: r.Kind, Decision: r.Decision, Reason: r.Reason, Subject: r.Subject, Agent: r.Agent, Model: r.Model, ModelAssurance: r.ModelAssurance,
		Session: r.Session, TraceID: r.TraceID, Revision: r.Revision, RequestBytes: r.RequestBytes, ResponseBytes: r.ResponseBytes,
		RequestTokens: r.RequestTokens, ResponseTokens: r.ResponseTokens, DurationUS: r.Duration.Microseconds(),
		UpstreamUS: r.Upstream.Microseconds(), ToolError: r.ToolError, Filtered: r.Filtered, ReceivedAt: r.ReceivedAt,
	}
}

type unknownServerJSON struct {
	Name        string    `json:"name"`
	Gateway     string    `json:"gateway"`
	GatewayName string    `json:"gateway_name"`
	Calls       int64     `json:"calls"`
	Subject     string    `json:"subject,omitempty" doc:"Who asked last; not there for those who may not see who called."`
	Agent       string    `json:"agent,omitempty"`
	FirstAt     time.Time `json:"first_at"`
	LastAt      time.Time `json:"last_at"`
}

func unknownServerOf(u usage.UnknownServer) unknownServerJSON {
	return unknownServerJSON{
		Name: u.Name, Gateway: u.GatewayID, GatewayName: u.GatewayName, Calls: u.Calls, Subject: u.Subject, Agent: u.Agent, FirstAt: u.FirstAt, LastAt: u.LastAt,
	}
}
