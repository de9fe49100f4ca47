package usage

import (
	"fmt"
	"slices"
	"time"

	"countersign/internal/problem"
)

// Kind is what a rule looks at.
type Kind string

// The kinds of rule.
const (
	SessionRate     Kind = "session_rate"
	ErrorRate       Kind = "error_rate"
	Denials         Kind = "denials"
	TokensSpent     Kind = "tokens"
	CostReached     Kind = "cost"
	GatewaySilent   Kind = "gateway_silent"
	UnknownAsked    Kind = "unknown_server"
	NotifierFailing Kind = "notifier_failing"
)

// KindInfo is one line of the table of kinds.
type KindInfo struct {
	Kind   Kind
	Label  string
	Means  string
	About  string // what an alert of it is about: session, server, caller, agent, gateway or channel
	Params []Param

	find  finder
	quiet func(Params) time.Duration // how long it has not happened when an alert closes by itself
}

// Param is one member of Params that a kind takes.
type Param struct {
	Name     string // in JSON, and of the field of a problem
	Label    string
	Min, Max int64 // of a number
	Default  int64
	Text     bool
	Values   []string // of a text; nil: any
	Optional bool     // "" means any
}

// Params are what rules of all kinds can say; each kind takes some.
type Params struct {
	Calls    int64  `json:"calls,omitempty"`
	Seconds  int64  `json:"seconds,omitempty"`
	Percent  int64  `json:"percent,omitempty"`
	Tokens   int64  `json:"tokens,omitempty"`
	Amount   string `json:"amount,omitempty"`   // decimal, of Currency
	Currency string `json:"currency,omitempty"` // three letters
	By       string `json:"by,omitempty"`       // agent: each by itself; all: together
	Server   string `json:"server,omitempty"`
	Agent    string `json:"agent,omitempty"`
}

// window is the time that a rule looks at.
func (p Params) window() time.Duration { return time.Duration(p.Seconds) * time.Second }

// longestWindow bounds what a look reads of call records.
const longestWindow = 3600

func seconds(otherwise int64) Param {
	return Param{Name: "seconds", Label: "Within seconds", Min: 10, Max: longestWindow, Default: otherwise}
}

func calls(label string, otherwise int64) Param {
	return Param{Name: "calls", Label: label, Min: 1, Max: 1_000_000, Default: otherwise}
}

var (
	onServer = Param{Name: "server", Label: "Server", Text: true, Optional: true}
	ofAgent  = Param{Name: "agent", Label: "Agent", Text: true, Optional: true}
	by       = Param{Name: "by", Label: "Counted", Text: true, Values: []string{"agent", "all"}}
)

func threeWindows(p Params) time.Duration { return 3 * p.window() }
func atOnce(Params) time.Duration         { return 0 }
func aDay(Params) time.Duration           { return day }

var kinds = []KindInfo{
	{
		SessionRate, "Calls from one session", "More calls from one session than that within the time.", "session",
		[]Param{calls("More calls than", 100), seconds(60), ofAgent},
		findSessionRate, threeWindows,
	},
	{
		ErrorRate, "Errors of a server", "That share of a server's calls, of at least so many, failed or were answered with an error.", "server",
		[]Param{{Name: "percent", Label: "Percent or more", Min: 1, Max: 100, Default: 20}, calls("Of at least calls", 20), seconds(300), onServer},
		findErrorRate, threeWindows,
	},
	{
		Denials, "Denied calls of one caller", "A caller was denied so many calls within the time: perhaps somebody probes.", "caller",
		[]Param{calls("Denials", 20), seconds(60), ofAgent},
		findDenials, threeWindows,
	},
	{
		TokensSpent, "Tokens in a day", "The calls of a day of UTC moved so many tokens, by estimate.", "agent",
		[]Param{{Name: "tokens", Label: "Tokens", Min: 1000, Max: 1_000_000_000_000, Default: 10_000_000}, by, ofAgent},
		findTokens, aDay,
	},
	{
		CostReached, "Cost in a day", "The calls of a day of UTC cost so much at the present prices. What has no price is not counted.", "agent",
		[]Param{{Name: "amount", Label: "Amount", Text: true}, {Name: "currency", Label: "Currency", Text: true}, by, ofAgent},
		findCost, aDay,
	},
	{
		GatewaySilent, "Silent gateway", "No instance of a gateway reported for that long, and it is not revoked.", "gateway",
		[]Param{{Name: "seconds", Label: "Seconds", Min: 30, Max: 86400, Default: 120}},
		findSilent, atOnce,
	},
	{
		UnknownAsked, "Unknown server asked for", "Callers asked so often for a server that nobody registered.", "server",
		[]Param{calls("Times", 10), seconds(3600)},
		findUnknown, threeWindows,
	},
	{
		NotifierFailing, "Channel fails", "What is sent to a channel has not arrived for that long.", "channel",
		[]Param{{Name: "seconds", Label: "Seconds", Min: 30, Max: 86400, Default: 600}},
		findFailing, atOnce,
	},
}

// Kinds lists the kinds of rule, as a form offers them.
func Kinds() []KindInfo { return slices.Clone(kinds) }

// KindNamed gives the line of a kind.
func KindNamed(k Kind) (KindInfo, bool) {
	i := slices.IndexFunc(kinds, func(info KindInfo) bool { return info.Kind == k })
	if i < 0 {
		return KindInfo{}, false
	}
	return kinds[i], true
}

// Suggested are rules that most installations want, beside the one that each begins with.
func Suggested() []NewRule {
	return []NewRule{
		{Name: "More than 100 calls a minute from one session", Kind: SessionRate, Params: Params{Calls: 100, Seconds: 60}},
		{Name: "A gateway is silent for two minutes", Kind: GatewaySilent, Params: Params{Seconds: 120}, Urgent: true},
		{Name: "A channel does not take what it is told", Kind: NotifierFailing, Params: Params{Seconds: 600}, Urgent: true},
		{Name: "20 calls of one caller are denied in a minute", Kind: Denials, Params: Params{Calls: 20, Seconds: 60}},
		{Name: "Every fifth call to a server fails", Kind: ErrorRate, Params: Params{Percent: 20, Calls: 20, Seconds: 300}},
		{Name: "A server that nobody registered is asked for", Kind: UnknownAsked, Params: Params{Calls: 10, Seconds: 3600}},
	}
}

// check says what is wrong with params of the kind, by field.
func (k KindInfo) check(p *Params, invalid *problem.Error) {
	numbers := map[string]*int64{"calls": &p.Calls, "seconds": &p.Seconds, "percent": &p.Percent, "tokens": &p.Tokens}
	texts := map[string]*string{"amount": &p.Amount, "currency": &p.Currency, "by": &p.By, "server": &p.Server, "agent": &p.Agent}
	for _, param := range k.Params {
		if n := numbers[param.Name]; n != nil && (*n < param.Min || *n > param.Max) {
			invalid.Field(param.Name, fmt.Sprintf("Say a number from %d to %d.", param.Min, param.Max))
		}
		if text := texts[param.Name]; text != nil {
			if message := param.checkText(text); message != "" {
				invalid.Field(param.Name, message)
			}
		}
		delete(numbers, param.Name)
		delete(texts, param.Name)
	}
	for name, n := range numbers {
		if *n != 0 {
			invalid.Field(name, "Rules of this kind do not take it.")
		}
	}
	for name, text := range texts {
		if *text != "" {
			invalid.Field(name, "Rules of this kind do not take it.")
		}
	}
}

func (p Param) checkText(text *string) (complaint string) {
	switch {
	case p.Name == "amount":
		if micros, ok := readDecimal(*text); !ok || micros == 0 {
			return "Say an amount to 999999 with at most six decimals, as 25.00."
		}
	case p.Name == "currency":
		if !currencyForm.MatchString(*text) {
			return "Say a currency by its three letters, as EUR."
		}
	case len(p.Values) > 0:
		if !slices.Contains(p.Values, *text) {
			return fmt.Sprintf("Choose one of %v.", p.Values)
		}
	case len(*text) > maxName || cleanName(*text) != *text:
		return fmt.Sprintf("At most %d bytes.", maxName)
	case *text == "" && !p.Optional:
		return "Say it."
	}
	return ""
}
