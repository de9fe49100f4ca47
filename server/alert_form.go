package server

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/usage"
	"countersign/web"
)

// alertForm is what stands in the form of a rule of one kind: what was typed, by the names of its fields.
type alertForm struct {
	id, name string
	version  int64
	kind     usage.KindInfo
	values   map[string]string
	urgent   bool
}

// alertFormNew is the form of a rule that nobody has said anything of yet.
func alertFormNew(kind usage.KindInfo) alertForm {
	f := alertForm{kind: kind, values: map[string]string{}}
	for _, p := range kind.Params {
		switch {
		case len(p.Values) > 0:
			f.values[p.Name] = p.Values[0]
		case !p.Text:
			f.values[p.Name] = strconv.FormatInt(p.Default, 10)
		}
	}
	return f
}

// alertFormTyped is the form as it was sent.
func alertFormTyped(c echo.Context) alertForm {
	f := alertForm{
		id: c.Param("id"), name: c.FormValue("name"), version: version(c), kind: kindOfAlert(usage.Kind(c.FormValue("kind"))),
		values: map[string]string{}, urgent: c.FormValue("urgent") == "yes",
	}
	for _, p := range f.kind.Params {
		f.values[p.Name] = strings.TrimSpace(c.FormValue(p.Name))
	}
	return f
}

// alertFormOf is the form of a rule.
func alertFormOf(n usage.NewRule) alertForm {
	f := alertForm{name: n.Name, kind: kindOfAlert(n.Kind), values: map[string]string{}, urgent: n.Urgent}
	members := map[string]any{}
	if text, err := json.Marshal(n.Params); err == nil {
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.UseNumber()
		_ = decoder.Decode(&members) // what we have just written
	}
	for _, p := range f.kind.Params {
		if value, there := members[p.Name]; there {
			f.values[p.Name] = fmt.Sprint(value)
		}
	}
	return f
}

// rule is what the form says. What is no number is wrong here already; the rest is for the ledger to judge.
func (f alertForm) rule() (usage.NewRule, web.Errors) {
	n, errs, members := usage.NewRule{Name: f.name, Kind: f.kind.Kind, Urgent: f.urgent}, web.Errors{}, map[string]any{}
	for _, p := range f.kind.Params {
		value := f.values[p.Name]
		switch {
		case value == "":
		case p.Text:
			members[p.Name] = value
		default:
			number, err := strconv.ParseInt(strings.ReplaceAll(value, ",", ""), 10, 64)
			if err != nil {
				errs[p.Name] = "Write a whole number."
				continue
			}
			members[p.Name] = number
		}
	}
	text, err := json.Marshal(members)
	if err == nil {
		err = json.Unmarshal(text, &n.Params)
	}
	if err != nil {
		errs[""] = "The form cannot be read."
	}
	return n, errs
}

// complete says whether every field has something that has to have it: then it can be read back.
func (f alertForm) complete() bool {
	for _, p := range f.kind.Params {
		if !p.Optional && f.values[p.Name] == "" {
			return false
		}
	}
	return true
}

func (f alertForm) view() web.AlertRuleForm {
	view := web.AlertRuleForm{
		ID: f.id, Name: f.name, Version: f.version, Kind: string(f.kind.Kind), KindLabel: f.kind.Label, KindMeans: f.kind.Means, Urgent: f.urgent,
	}
	for _, p := range f.kind.Params {
		field := web.AlertField{
			Name: p.Name, Label: p.Label, Value: f.values[p.Name], Number: !p.Text, Optional: p.Optional, Hint: paramHint(p),
		}
		for _, v := range p.Values {
			field.Options = append(field.Options, web.Option{Value: v, Label: paramWords(v), Selected: v == field.Value})
		}
		view.Fields = append(view.Fields, field)
	}
	return view
}

func paramHint(p usage.Param) string {
	switch {
	case p.Text && p.Optional:
		return "Leave it empty for all of them."
	case p.Name == "amount":
		return "As 25.00."
	case p.Name == "currency":
		return "Three letters, such as EUR."
	case p.Text:
		return ""
	}
	return fmt.Sprintf("%d to %d.", p.Min, p.Max)
}

// paramWords says a value that a field offers.
func paramWords(value string) string {
	switch value {
	case "agent":
		return "For each agent by itself"
	case "all":
		return "For all together"
	}
	return value
}

// secondsWords says a time of whole seconds as people do.
func secondsWords(n int64) string {
	d := time.Duration(n) * time.Second
	for _, unit := range []struct {
		size      time.Duration
		one, many string
	}{{24 * time.Hour, "day", "days"}, {time.Hour, "hour", "hours"}, {time.Minute, "minute", "minutes"}} {
		if d >= unit.size && d%unit.size == 0 {
			return strings.ToLower(count(int(d/unit.size), unit.one, unit.many))
		}
	}
	return strings.ToLower(count(int(n), "second", "seconds"))
}
