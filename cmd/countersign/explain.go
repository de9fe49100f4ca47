package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"countersign/delivery"
	"countersign/policy"
)

type explainCmd struct {
	As        string `help:"Who calls: user=ann,groups=support,billing,agent=cursor,model=claude,assurance=attested,amr=pwd,otp,issuer=https://idp.example. What is left out is not known."`
	Server    string `required:"" help:"Name of the server, as com.example/orders."`
	Tool      string `required:"" help:"Name of the tool or prompt; of a resource its URI."`
	Kind      string `enum:"tool,prompt,resource" default:"tool" help:"tool, prompt or resource."`
	Arguments string `name:"arguments" default:"{}" help:"Arguments as a JSON object; @FILE reads a file, - standard input."`
	At        string `help:"When, as 2026-11-02T12:00:00Z; the present unless given."`
	Gateway   string `name:"as-gateway" help:"Id of a gateway: by what is in force there, instead of the registry as it is now."`
	Audience  string `help:"Id of an audience: by what is in force for it."`
	JSON      bool   `name:"json" help:"Print the answer as JSON."`
	automationFlags
}

// question is the body of /v1/policy/explain.
type question struct {
	delivery.Given
	Audience string `json:"audience,omitempty"`
	Gateway  string `json:"gateway,omitempty"`
}

// explained is what the control plane answers, as far as it is printed.
type explained struct {
	Outcome      delivery.ExpectedOutcome `json:"outcome"`
	Sentence     string                   `json:"sentence"`
	Against      delivery.Against         `json:"against"`
	AudienceName string                   `json:"audience_name"`
	Revision     int64                    `json:"revision"`
	Generation   int64                    `json:"generation"`
	Steps        []struct {
		Stage   policy.Stage  `json:"stage"`
		Rule    string        `json:"rule"`
		Name    string        `json:"name"`
		Tool    string        `json:"tool"`
		Ruling  policy.Ruling `json:"ruling"`
		Decides bool          `json:"decides"`
		Text    string        `json:"text"`
	} `json:"steps"`
	Nearest []struct {
		Name string `json:"name"`
		Text string `json:"text"`
	} `json:"nearest"`
}

// Run asks what would become of a call. The exit code is that of the call: whoever may not ask gets another.
func (cmd explainCmd) Run(ctx context.Context, c *console) error {
	q, err := cmd.question()
	if err != nil {
		return codeError{exitUsage, err.Error()}
	}
	control, err := cmd.connect(ctx)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := control.Do(ctx, http.MethodPost, "/v1/policy/explain", q, &raw); err != nil {
		return unlike(err, exitDenied, exitError)
	}
	var answer explained
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("the answer is not the control plane's: %w", err)
	}
	if cmd.JSON {
		err = writeJSON(c.out, raw)
	} else {
		answer.show(c.out)
	}
	if code := exitOf(answer.Outcome); err == nil && code != exitDone {
		return codeError{code: code}
	}
	return err
}

// unlike keeps an error from ending the program as an answer would.
func unlike(err error, code, instead int) error {
	if exit := (codeError{}); errors.As(err, &exit) && exit.code == code {
		return codeError{instead, exit.message}
	}
	return err
}

func exitOf(o delivery.ExpectedOutcome) int {
	switch o {
	case delivery.ExpectAllow:
		return exitDone
	case delivery.ExpectHold:
		return exitHeld
	case delivery.ExpectDeny:
	}
	return exitDenied
}

func (cmd explainCmd) question() (q question, err error) {
	q.Server, q.Name, q.Kind, q.Audience, q.Gateway = cmd.Server, cmd.Tool, policy.Kind(cmd.Kind), cmd.Audience, cmd.Gateway
	if q.Principal, err = readPrincipal(cmd.As); err != nil {
		return q, err
	}
	if q.Arguments, err = readArguments("--arguments", cmd.Arguments); err != nil {
		return q, err
	}
	if cmd.At != "" {
		at, err := time.Parse(time.RFC3339, cmd.At)
		if err != nil {
			return q, errors.New("--at has to be a time, as 2026-11-02T12:00:00Z")
		}
		q.At = &at
	}
	return q, nil
}

// readPrincipal reads "user=ann,groups=support,billing": what has no = belongs to the list before it.
func readPrincipal(text string) (p delivery.GivenPrincipal, err error) {
	if text == "" {
		return p, nil
	}
	key, seen := "", []string{}
	for part := range strings.SplitSeq(text, ",") {
		value := part
		if name, rest, found := strings.Cut(part, "="); found {
			if slices.Contains(seen, name) {
				return p, fmt.Errorf("--as says %s twice; write %s=a,b", name, name)
			}
			key, value, seen = name, rest, append(seen, name)
		}
		switch key {
		case "user":
			err = setOnce(&p.User, value, key)
		case "issuer":
			err = setOnce(&p.Issuer, value, key)
		case "agent":
			err = setOnce(&p.Agent, value, key)
		case "model":
			err = setOnce(&p.Model, value, key)
		case "assurance":
			err = setOnce((*string)(&p.Assurance), value, key)
		case "groups":
			p.Groups = listed(p.Groups, value)
		case "amr":
			p.AMR = listed(p.AMR, value)
		default:
			err = fmt.Errorf("--as knows user, issuer, groups, agent, model, assurance and amr, each as key=value, and not %q", part)
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

func setOnce(field *string, value, key string) error {
	if *field != "" {
		return fmt.Errorf("--as takes one %s", key)
	}
	*field = value
	return nil
}

// listed adds a value to a list; an empty one makes it a list of none.
func listed(list []string, value string) []string {
	if list == nil {
		list = []string{}
	}
	if value == "" {
		return list
	}
	return append(list, value)
}

// show prints the verdict, and each step with a mark before the one that decides.
func (e explained) show(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s\n\n", printable(e.Sentence), e.source())
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range e.Steps {
		mark, name := " ", string(s.Stage)
		if s.Decides {
			mark = ">"
		}
		if s.Rule != "" {
			name = fmt.Sprintf("%s %q", s.Rule, s.Name)
		}
		fmt.Fprintf(table, "%s %s\t%s\t%s\n", mark, s.Ruling, printable(name), printable(s.Text))
	}
	_ = table.Flush() // to a terminal or a pipe, as everything here
	if len(e.Nearest) > 0 {
		fmt.Fprint(w, "\nThe nearest grants, and what the caller would need:\n")
	}
	for _, n := range e.Nearest {
		fmt.Fprintf(w, "  %q: %s\n", printable(n.Name), printable(n.Text))
	}
}

func (e explained) source() string {
	if e.Against == delivery.AgainstRevision {
		return fmt.Sprintf("By revision %d, in force for the audience %s.", e.Revision, printable(e.AudienceName))
	}
	return fmt.Sprintf("By the registry as it is now, at generation %d.", e.Generation)
}
