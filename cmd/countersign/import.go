package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"countersign/internal/problem"
	"countersign/registry"
)

type importCmd struct {
	Source string   `arg:"" help:"A file with a server.json or a registry's listing, its address, or - for standard input."`
	Team   string   `required:"" help:"Name of the team that is to own the new servers."`
	Select []string `name:"select" placeholder:"NAME" help:"Import only this one, as com.acme/orders or com.acme/orders@1.2.0; may be repeated. Without it: the latest of all."`
	Yes    bool     `name:"yes" help:"Import. Without it, only say what would be imported."`
	automationFlags
}

// importLine is what the control plane makes of an entry.
type importLine struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Outcome  string   `json:"outcome"`
	ID       string   `json:"id"`
	Problems []string `json:"problems"`
}

type importBody struct {
	Team    string              `json:"team"`
	Servers []registry.Manifest `json:"servers"`
	Preview bool                `json:"preview"`
}

type importReply struct {
	Servers []importLine `json:"servers"`
}

const pathImports = "/v1/imports"

// Run reads on this machine: the control plane never asks an address that somebody brings. It shows what is there, and
// proposes what was chosen when it is told to.
func (cmd importCmd) Run(ctx context.Context, c *console) error {
	control, err := cmd.connect(ctx)
	if err != nil {
		return err
	}
	data, err := cmd.read(ctx)
	if err != nil {
		return err
	}
	entries, err := registry.ReadManifests(data)
	if err != nil {
		return codeError{exitError, printable(messageOf(err))}
	}
	chosen, err := cmd.choose(entries)
	if err != nil {
		return err
	}
	if chosen, err = cmd.preview(ctx, c.out, control, entries, chosen); err != nil {
		return err
	}
	if more := nextPage(data); more != "" {
		fmt.Fprintf(c.out, "\nThis is one page of the listing. The next one is at cursor=%s\n", printable(url.QueryEscape(more)))
	}
	switch {
	case len(chosen) == 0:
		fmt.Fprintln(c.out, "\nThere is nothing to import.")
		return nil
	case !cmd.Yes:
		fmt.Fprintf(c.out, "\nNothing was imported. Say --yes to propose %d for the team %s.\n", len(chosen), printable(cmd.Team))
		return nil
	}
	return cmd.propose(ctx, c.out, control, chosen)
}

// choose finds the entries that were asked for: by name the latest, by name and version that one.
func (cmd importCmd) choose(entries []registry.Entry) ([]registry.Manifest, error) {
	var chosen []registry.Manifest
	if len(cmd.Select) == 0 {
		for _, e := range entries {
			if e.Latest && len(e.Problems) == 0 && e.Status != "deleted" {
				chosen = append(chosen, e.Manifest)
			}
		}
		return chosen, nil
	}
	for _, wanted := range cmd.Select {
		name, version, exact := strings.Cut(wanted, "@")
		i := slices.IndexFunc(entries, func(e registry.Entry) bool {
			return e.Name == name && (exact && e.Version == version || !exact && e.Latest)
		})
		switch {
		case i < 0:
			return nil, codeError{exitUsage, fmt.Sprintf("--select %s: there is no such entry", printable(wanted))}
		case len(entries[i].Problems) > 0:
			return nil, codeError{exitError, fmt.Sprintf("--select %s: %s", printable(wanted), printable(strings.Join(entries[i].Problems, " ")))}
		}
		chosen = append(chosen, entries[i].Manifest)
	}
	return chosen, nil
}

// preview prints a line for each entry, and gives those of chosen that are not here already.
func (cmd importCmd) preview(ctx context.Context, out io.Writer, control *automationClient, entries []registry.Entry, chosen []registry.Manifest) ([]registry.Manifest, error) {
	outcomes := map[string]importLine{}
	if len(chosen) > 0 {
		var reply importReply
		if err := control.Do(ctx, http.MethodPost, pathImports, importBody{Team: cmd.Team, Servers: chosen, Preview: true}, &reply); err != nil {
			return nil, err
		}
		for _, line := range reply.Servers {
			outcomes[line.Name+"@"+line.Version] = line
		}
	}
	for _, e := range entries {
		line, asked := outcomes[e.Name+"@"+e.Version]
		switch {
		case len(e.Problems) > 0:
			line = importLine{Outcome: "refused", Problems: e.Problems}
		case !asked:
			line.Outcome = "not chosen"
		}
		fmt.Fprintf(out, "%-11s %s %s  %s\n", line.Outcome, printable(e.Name), printable(e.Version), printable(firstLine(e.Description)))
		for _, p := range line.Problems {
			fmt.Fprintf(out, "%-11s %s\n", "", printable(p))
		}
	}
	wanted := slices.DeleteFunc(chosen, func(m registry.Manifest) bool {
		outcome := outcomes[m.Name+"@"+m.Version].Outcome
		return outcome != string(registry.NewServer) && outcome != string(registry.NewVersion)
	})
	return wanted, nil
}

func (cmd importCmd) propose(ctx context.Context, out io.Writer, control *automationClient, chosen []registry.Manifest) error {
	var reply importReply
	if err := control.Do(ctx, http.MethodPost, pathImports, importBody{Team: cmd.Team, Servers: chosen}, &reply); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, line := range reply.Servers {
		fmt.Fprintf(out, "%-11s %s %s  %s/servers/%s\n", line.Outcome, printable(line.Name), printable(line.Version), strings.TrimSuffix(cmd.URL, "/"), url.PathEscape(line.ID))
	}
	fmt.Fprintln(out, "Nothing of them is callable before their owner has looked at it.")
	return nil
}

const importTimeout = 30 * time.Second

// read gets the whole of the source, and no more than an import may have.
func (cmd importCmd) read(ctx context.Context) ([]byte, error) {
	var in io.ReadCloser
	var err error
	switch {
	case cmd.Source == "-":
		in = io.NopCloser(os.Stdin)
	case strings.HasPrefix(cmd.Source, "https://") || strings.HasPrefix(cmd.Source, "http://"):
		ctx, cancel := context.WithTimeout(ctx, importTimeout)
		defer cancel()
		in, err = download(ctx, cmd.Source)
	default:
		in, err = os.Open(cmd.Source)
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, registry.MaxListingBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", printable(cmd.Source), err)
	}
	return data, nil
}

// download gets an address; nobody in between may change what comes back.
func download(ctx context.Context, address string) (io.ReadCloser, error) {
	unsafe := codeError{exitUsage, "an import comes from a file, an https address, or an http one on loopback"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil || !isSafe(req.URL) || req.URL.User != nil {
		return nil, unsafe
	}
	req.Header.Set("Accept", "application/json")
	browser := &http.Client{CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if !isSafe(next.URL) || len(via) > 5 {
			return unsafe
		}
		return nil
	}}
	resp, err := browser.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reading the listing: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("reading the listing: the answer is %s", printable(resp.Status))
	}
	return resp.Body, nil
}

// nextPage is the cursor of a listing that goes on.
func nextPage(data []byte) string {
	var listing struct {
		Metadata struct {
			NextCursor string `json:"nextCursor"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal(data, &listing) // another form has no pages
	return listing.Metadata.NextCursor
}

// messageOf is the sentence of a problem, or the error.
func messageOf(err error) string {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return p.Message
	}
	return err.Error()
}
