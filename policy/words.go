package policy

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Wording says how to put Changes into words. The zero value names everything, and teams by their ids.
type Wording struct {
	Teams map[string]string // names of teams by id
	Most  int               // of each server name at most so many tools and count the rest; 0: name all
}

// ChangeKind says what sort of change a Sentence tells.
type ChangeKind string

// The kinds, in the order of the sentences.
const (
	ChangeAppear ChangeKind = "appear"
	ChangeVanish ChangeKind = "vanish"
	ChangeGain   ChangeKind = "gain"
	ChangeLose   ChangeKind = "lose"
	ChangeBegin  ChangeKind = "begin"
	ChangeStop   ChangeKind = "stop"
	ChangeRisk   ChangeKind = "risk"
)

// Sentence is one change in words. It is safe to print: of names that others chose it shows nothing that does not print.
type Sentence struct {
	Kind ChangeKind `json:"kind"`
	Text string     `json:"text"`
}

// Words says the changes, one sentence for each, such as
// "group support may call com.acme/orders: list_orders, refund_order".
func (c Changes) Words(w Wording) []Sentence {
	var all []Sentence
	say := func(k ChangeKind, format string, args ...any) {
		all = append(all, Sentence{k, fmt.Sprintf(format, args...)})
	}
	for _, s := range c.AppearServers {
		say(ChangeAppear, "%s is new", visible(s))
	}
	for _, s := range c.VanishServers {
		say(ChangeVanish, "%s is gone", visible(s))
	}
	if len(c.Appears) > 0 {
		say(ChangeAppear, "new: %s", w.tools(c.Appears))
	}
	if len(c.Vanishes) > 0 {
		say(ChangeVanish, "gone: %s", w.tools(c.Vanishes))
	}
	for _, a := range c.Gains {
		say(ChangeGain, "%s may call %s%s%s", a.Subject.Words(), w.tools(a.Tools), a.windowWords(), whereWords(a.Condition, "not only", a.Unless))
	}
	for _, a := range c.Loses {
		say(ChangeLose, "%s may no longer call %s%s%s", a.Subject.Words(), w.tools(a.Tools), a.windowWords(), whereWords(a.Condition, "save", a.Unless))
	}
	for _, r := range c.Begins {
		say(ChangeBegin, "%s: %s, calling %s%s", r.who(), r.Effect.Words(w), w.tools(r.Tools), whereWords(r.Condition, "not only", r.Unless))
	}
	for _, r := range c.Stops {
		say(ChangeStop, "%s: no longer %s, calling %s%s", r.who(), r.Effect.Words(w), w.tools(r.Tools), whereWords(r.Condition, "save", r.Unless))
	}
	for _, k := range c.GainKeys {
		say(ChangeGain, "a key of agent %s was added, good until %s", visible(k.Agent), k.NotAfter.UTC().Format(timeForm))
	}
	for _, k := range c.LoseKeys {
		say(ChangeLose, "a key of agent %s is no longer good", visible(k.Agent))
	}
	for _, a := range c.GainModels {
		say(ChangeGain, "agent %s is registered with model %s", visible(a.Agent), oneOf(a.Models))
	}
	for _, a := range c.LoseModels {
		say(ChangeLose, "agent %s is no longer registered with model %s", visible(a.Agent), oneOf(a.Models))
	}
	for _, r := range c.GainRequests {
		say(ChangeGain, "%s may ask clients to %s", visible(r.Server), r.words())
	}
	for _, r := range c.LoseRequests {
		say(ChangeLose, "%s may no longer ask clients to %s", visible(r.Server), r.words())
	}
	for _, r := range c.Risks {
		say(ChangeRisk, "%s is %s, was %s", w.tools([]ToolName{r.ToolName}), riskWords(r.To), riskWords(r.From))
	}
	return all
}

// Words says a subject for people to read: "group dev or ops, through agent cursor".
func (s Subject) Words() string {
	var parts []string
	if s.Everyone {
		parts = append(parts, "everyone")
	}
	add := func(noun string, names []string) {
		if len(names) > 0 {
			parts = append(parts, noun+" "+oneOf(names))
		}
	}
	add("user", s.Users)
	add("group", s.Groups)
	add("agent", s.Agents)
	add("model", s.Models)
	if len(parts) == 0 {
		return "nobody"
	}
	words := strings.Join(parts, " with ")
	if s.AllowDeclared {
		words += " (declared is enough)"
	}
	return words
}

// who is the subject, less its exceptions.
func (a Restraint) who() string {
	if a.Except.isZero() {
		return a.Subject.Words()
	}
	return a.Subject.Words() + ", except " + a.Except.Words()
}

// timeForm is how sentences say a time.
const timeForm = "2006-01-02 15:04 UTC"

// windowWords says when, "" for always.
func (a Access) windowWords() string {
	words := ""
	if a.NotBefore != nil {
		words += ", from " + a.NotBefore.UTC().Format(timeForm)
	}
	if a.NotAfter != nil {
		words += ", until " + a.NotAfter.UTC().Format(timeForm)
	}
	return words
}

// whereWords says under which condition, and under which other ones nothing changes.
func whereWords(condition, but string, unless []string) string {
	words := ""
	if condition != "" {
		words = ", where " + visible(condition)
	}
	for _, c := range unless {
		words += ", " + but + " where " + visible(c)
	}
	return words
}

// Words says what the effect does, to follow whom it is about: "denied", "at most 10 calls a minute each".
func (e Effect) Words(w Wording) string {
	if t := e.Tainted; t != nil {
		e.Tainted = nil
		return e.Words(w) + " " + t.Words()
	}
	switch {
	case e.Deny:
		return "denied"
	case e.MFA:
		return "only with a second factor"
	case e.StepUp != nil:
		return "only when " + e.StepUp.Words()
	case e.RateLimit != nil:
		return "at most " + e.RateLimit.Words() + " each"
	case e.TokenBudget != nil:
		return "at most " + e.TokenBudget.Words() + " each"
	case e.MaxResponseBytes > 0:
		return "only results of at most " + counted(e.MaxResponseBytes, "byte")
	case e.Require != "":
		return "only where " + visible(e.Require)
	case e.Approval != nil:
		return "only with the approval of " + e.Approval.Words(w)
	}
	return "nothing"
}

// Words says the limit for people to read: "10 calls a minute".
func (l RateLimit) Words() string { return counted(int64(l.Calls), "call") + within(l.Seconds) }

// Words says the budget for people to read: "50000 tokens an hour".
func (b TokenBudget) Words() string { return counted(int64(b.Tokens), "token") + within(b.Seconds) }

func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatInt(n, 10) + " " + noun + "s"
}

func within(seconds int) string {
	switch seconds {
	case 1:
		return " a second"
	case 60:
		return " a minute"
	case 3600:
		return " an hour"
	case 24 * 3600:
		return " a day"
	}
	return fmt.Sprintf(" in %d seconds", seconds)
}

func riskWords(r Risk) string { return strings.ReplaceAll(string(r), "_", "-") }

// tools says sorted names, by server: "com.acme/orders: list_orders, prompt summarise; com.acme/mail: send".
func (w Wording) tools(names []ToolName) string {
	var words strings.Builder
	for start := 0; start < len(names); {
		end := start
		for end < len(names) && names[end].Server == names[start].Server {
			end++
		}
		if start > 0 {
			words.WriteString("; ")
		}
		w.toolsOf(&words, names[start:end])
		start = end
	}
	return words.String()
}

// toolsOf says names of one server.
func (w Wording) toolsOf(words *strings.Builder, names []ToolName) {
	words.WriteString(visible(names[0].Server) + ": ")
	for i, n := range names {
		if w.Most > 0 && i == w.Most {
			fmt.Fprintf(words, " and %d more", len(names)-i)
			return
		}
		if i > 0 {
			words.WriteString(", ")
		}
		if n.Kind != KindTool {
			words.WriteString(string(n.Kind) + " ")
		}
		words.WriteString(visible(n.Name))
	}
}

func oneOf(names []string) string {
	shown := make([]string, len(names))
	for i, n := range names {
		shown[i] = visible(n)
	}
	return strings.Join(shown, " or ")
}

// visible writes what does not print, or only seems to be a space, as an escape.
func visible(s string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var out strings.Builder
	for _, r := range s {
		if hidden(r) {
			out.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }
