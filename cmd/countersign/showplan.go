package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"countersign/policy"
	"countersign/registry"
)

// painter colours lines for a terminal, and nothing else.
type painter struct{ on bool }

func (p painter) paint(colour, s string) string {
	if !p.on || colour == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// isTerminal takes the null device for one, which does no harm: nobody answers there, and nobody sees colours.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// paints says whether out is for eyes that want colour.
func paints(out io.Writer) painter {
	f, ok := out.(*os.File)
	return painter{ok && isTerminal(f) && os.Getenv("NO_COLOR") == ""}
}

// look is how a kind of change is shown.
type look struct{ sign, colour string }

var (
	changeLooks = map[registry.ChangeKind]look{
		registry.Adds: {"+", "32"}, registry.Changes: {"~", "33"}, registry.Ends: {"-", "31"},
	}
	effectLooks = map[policy.ChangeKind]look{
		policy.ChangeAppear: {"+", ""}, policy.ChangeVanish: {"-", ""}, policy.ChangeGain: {"+", "32"}, policy.ChangeLose: {"-", "31"},
		policy.ChangeBegin: {"+", ""}, policy.ChangeStop: {"-", "33"}, policy.ChangeRisk: {"~", ""},
	}
)

// showPlan prints a plan for a person. What it prints comes from files and from the control plane: nothing of it moves
// the cursor.
func showPlan(out io.Writer, plan registry.Plan) {
	p := paints(out)
	for _, c := range plan.Changes {
		showChange(out, p, c)
	}
	if len(plan.Effects) > 0 {
		fmt.Fprintln(out, "\nWhat follows for callers:")
	}
	for _, s := range plan.Effects {
		l := effectLooks[s.Kind]
		fmt.Fprintln(out, "  "+p.paint(l.colour, l.sign+" "+printable(s.Text)))
	}
	if len(plan.Changes) > 0 {
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out, summaryOf(plan))
}

func showChange(out io.Writer, p painter, c registry.PlannedChange) {
	l := changeLooks[c.Kind]
	title := fmt.Sprintf("%s %-6s %-9s %s", l.sign, printable(string(c.Kind)), printable(c.What), printable(c.Key))
	if c.Name != c.Key {
		title += "  " + printable(c.Name)
	}
	fmt.Fprintln(out, p.paint(l.colour, title))
	width := 0
	for _, f := range c.Fields {
		width = max(width, len(f.Name))
	}
	for _, f := range c.Fields {
		value := ""
		switch c.Kind {
		case registry.Adds:
			value = f.After
		case registry.Changes:
			value = orNothing(f.Before) + " → " + orNothing(f.After)
		case registry.Ends:
			continue
		}
		fmt.Fprintf(out, "    %-*s  %s\n", width, printable(f.Name), printable(value))
	}
	if c.Consequence != "" {
		fmt.Fprintln(out, "    = "+printable(c.Consequence))
	}
	if c.NeedsPerson {
		fmt.Fprintln(out, "    ! a person has to do this in the console; no machine may")
	}
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// summaryOf counts what is to do, and what is left alone.
func summaryOf(plan registry.Plan) string {
	counts := map[registry.ChangeKind]int{}
	for _, c := range plan.Changes {
		counts[c.Kind]++
	}
	summary := "Nothing to do: the registry is as the files say."
	if !plan.Empty() {
		summary = fmt.Sprintf("Plan: %d to add, %d to change, %d to end.", counts[registry.Adds], counts[registry.Changes], counts[registry.Ends])
	}
	var stay []string
	for _, u := range []struct {
		n    int
		noun string
	}{{plan.Unmanaged.Teams, "team"}, {plan.Unmanaged.Servers, "server"}, {plan.Unmanaged.Grants, "grant"}, {plan.Unmanaged.Guardrails, "guardrail"}} {
		switch {
		case u.n == 1:
			stay = append(stay, "1 "+u.noun)
		case u.n > 1:
			stay = append(stay, fmt.Sprintf("%d %ss", u.n, u.noun))
		}
	}
	if len(stay) > 0 {
		summary += " In no file, and left as it is: " + strings.Join(stay, ", ") + "."
	}
	return summary
}
