package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"countersign/desired"
	"countersign/registry"
)

// exitChanges is how plan says that there is something to do. So that it means nothing else, whatever is wrong with a
// plan is exitError, also where other commands say exitUsage.
const exitChanges = 2

// fileFlags say which files, and what their silence means.
type fileFlags struct {
	Files []string `arg:"" name:"file" help:"Files, or folders with .yaml and .yml files; all of them are one set."`
	Prune bool     `help:"End grants and guardrails, and retire servers, that no file names. Without it they stay."`
	automationFlags
}

type planCmd struct {
	JSON bool `name:"json" help:"Print the plan as JSON."`
	fileFlags
}

type applyCmd struct {
	Yes bool `help:"Apply without asking."`
	fileFlags
}

// planBody is the body of /v1/plan, and with a digest that of /v1/apply.
type planBody struct {
	Set    desired.Set `json:"set"`
	Prune  bool        `json:"prune"`
	Digest string      `json:"digest,omitempty"`
}

// Run shows what an apply of the files would do, and who gains and loses what by it.
func (cmd planCmd) Run(ctx context.Context, c *console) error {
	plan, _, err := cmd.plan(ctx)
	if usage := (codeError{}); errors.As(err, &usage) && usage.code == exitUsage {
		return codeError{exitError, usage.message}
	}
	if err != nil {
		return err
	}
	if cmd.JSON {
		err = writeJSON(c.out, plan)
	} else {
		showPlan(c.out, plan)
	}
	if err != nil || plan.Empty() {
		return err
	}
	return codeError{code: exitChanges}
}

// Run shows the plan, asks, and applies that plan and no other.
func (cmd applyCmd) Run(ctx context.Context, c *console) error {
	plan, files, err := cmd.plan(ctx)
	if err != nil {
		return err
	}
	showPlan(c.out, plan)
	if plan.Empty() {
		return nil
	}
	if err := cmd.confirm(c); err != nil {
		return err
	}
	body := planBody{files.set, cmd.Prune, plan.Digest}
	var done registry.Plan
	if err := files.control.Do(ctx, http.MethodPost, "/v1/apply", body, &done); err != nil {
		return files.explain(err)
	}
	fmt.Fprintf(c.out, "\nApplied. The policy is at generation %d.\n", done.Generation)
	return nil
}

func (cmd applyCmd) confirm(c *console) error {
	if cmd.Yes {
		return nil
	}
	if !isTerminal(os.Stdin) {
		return codeError{exitUsage, "nothing was applied: nobody can be asked here; say --yes to apply without"}
	}
	fmt.Fprint(c.out, "\nApply this? [y/N] ")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n') // without an answer it is no
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return codeError{exitError, "nothing was applied"}
	}
	return nil
}

// wanted is what the files say, and the control plane that they are for.
type wanted struct {
	set     desired.Set
	places  desired.Places
	control *automationClient
}

// plan reads the files, on this machine, and asks the control plane what it would take.
func (f fileFlags) plan(ctx context.Context) (registry.Plan, wanted, error) {
	files, err := readFiles(f.Files)
	if err != nil {
		return registry.Plan{}, wanted{}, err
	}
	var w wanted
	if w.set, w.places, err = desired.Read(files...); err != nil {
		return registry.Plan{}, w, codeError{exitError, "the files cannot be read; nothing was changed\n" + printable(err.Error())}
	}
	if w.control, err = f.connect(ctx); err != nil {
		return registry.Plan{}, w, err
	}
	var plan registry.Plan
	err = w.control.Do(ctx, http.MethodPost, "/v1/plan", planBody{Set: w.set, Prune: f.Prune}, &plan)
	return plan, w, w.explain(err)
}

// explain says in which file and line something is that the control plane refuses.
func (w wanted) explain(err error) error {
	refused := (*refusedError)(nil)
	if !errors.As(err, &refused) || len(refused.fields) == 0 {
		return err
	}
	var faults desired.ReadError
	for path, message := range refused.fields {
		place, known := w.places.Of(path)
		if !known {
			place.File = path
		}
		faults = append(faults, desired.Fault{Place: place, Message: message})
	}
	faults.Sort()
	return codeError{refused.code, printable(refused.detail + "\n" + faults.Error())}
}

// readFiles reads files as they are named, and those in folders in the order of their names.
func readFiles(paths []string) ([]desired.File, error) {
	var files []desired.File
	for _, path := range paths {
		names, err := filesAt(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			files = append(files, desired.File{Name: name, Data: data})
		}
	}
	return files, nil
}

// filesAt is the file, or all YAML below the folder. An empty folder is an error: it may not be the one that was meant.
func filesAt(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var names []string
	err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch hidden := name != path && strings.HasPrefix(entry.Name(), "."); {
		case err != nil:
			return err
		case entry.IsDir() && hidden:
			return filepath.SkipDir
		case !entry.IsDir() && !hidden && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name)):
			names = append(names, name)
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("there is no .yaml or .yml file in %s", path)
	}
	return names, err
}
