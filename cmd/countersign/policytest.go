package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/goccy/go-yaml"

	"countersign/delivery"
)

type policyCmd struct {
	Test policyTestCmd `cmd:"" help:"Run policy tests: those in files, or else those that the control plane keeps. Exit: 0 all pass, 1 some fail, 2 they could not be run."`
}

type policyTestCmd struct {
	Files  []string `arg:"" optional:"" name:"file" help:"Files, or folders with .yaml and .yml files, with tests. Without any: the stored tests."`
	Output string   `enum:"text,json,junit" default:"text" help:"text, json or junit."`
	automationFlags
}

// Exit codes of policy test.
const (
	exitFailed = 1
	exitNotRun = 2
)

// testRun is the body of /v1/policy/tests/run.
type testRun struct {
	Tests []delivery.NewPolicyTest `json:"tests,omitempty"`
}

// testReport is its answer.
type testReport struct {
	Passed  int          `json:"passed"`
	Failed  int          `json:"failed"`
	Results []testResult `json:"results"`
}

type testResult struct {
	ID       string          `json:"id,omitempty"`
	Name     string          `json:"name"`
	Passed   bool            `json:"passed"`
	Expect   delivery.Expect `json:"expect"`
	Got      delivery.Expect `json:"got"`
	Deciding string          `json:"deciding,omitempty"`
	Fault    string          `json:"fault,omitempty"`
}

// Run runs the tests where the rules are, and says what became of them.
func (cmd policyTestCmd) Run(ctx context.Context, c *console) error {
	report, err := cmd.run(ctx)
	if err != nil {
		if exit, ok := errors.AsType[codeError](err); ok {
			return codeError{exitNotRun, exit.message}
		}
		return codeError{exitNotRun, printable(err.Error())}
	}
	switch cmd.Output {
	case "json":
		err = writeJSON(c.out, report)
	case "junit":
		err = report.junit(c.out)
	default:
		report.show(c.out)
	}
	if err == nil && report.Failed > 0 {
		return codeError{code: exitFailed}
	}
	return err
}

func (cmd policyTestCmd) run(ctx context.Context) (report testReport, err error) {
	var body testRun
	if body.Tests, err = readTests(cmd.Files); err != nil {
		return report, err
	}
	control, err := cmd.connect(ctx)
	if err != nil {
		return report, err
	}
	err = control.Do(ctx, http.MethodPost, "/v1/policy/tests/run", body, &report)
	return report, err
}

// readTests reads all tests in the files; none if there is no file. A field that is misspelt is an error, and so is a
// file without a test.
func readTests(paths []string) ([]delivery.NewPolicyTest, error) {
	files, err := readFiles(paths)
	if err != nil {
		return nil, err
	}
	var tests []delivery.NewPolicyTest
	for _, file := range files {
		var set struct {
			Tests []delivery.NewPolicyTest `json:"tests"`
		}
		decoder := yaml.NewDecoder(bytes.NewReader(file.Data), yaml.Strict(), yaml.UseJSONUnmarshaler())
		if err := decoder.Decode(&set); err != nil {
			return nil, fmt.Errorf("%s: %s", file.Name, yaml.FormatError(err, false, true))
		}
		if len(set.Tests) == 0 {
			return nil, fmt.Errorf("%s has no tests", file.Name)
		}
		tests = append(tests, set.Tests...)
	}
	return tests, nil
}

func (r testReport) show(w io.Writer) {
	for _, t := range r.Results {
		if t.Passed {
			fmt.Fprintf(w, "ok    %s\n", printable(t.Name))
			continue
		}
		fmt.Fprintf(w, "FAIL  %s\n      %s\n", printable(t.Name), printable(t.Fault))
	}
	if len(r.Results) == 0 {
		fmt.Fprintln(w, "There is no policy test.")
		return
	}
	fmt.Fprintf(w, "\n%d passed, %d failed.\n", r.Passed, r.Failed)
}

// junit writes the report as build servers read it.
func (r testReport) junit(w io.Writer) error {
	type failure struct {
		Message string `xml:"message,attr"`
	}
	type testcase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Failure *failure `xml:"failure,omitempty"`
	}
	suite := struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []testcase `xml:"testcase"`
	}{Name: "policy", Tests: len(r.Results), Failures: r.Failed}
	for _, t := range r.Results {
		one := testcase{Name: t.Name, Class: "policy"}
		if !t.Passed {
			one.Failure = &failure{t.Fault}
		}
		suite.Cases = append(suite.Cases, one)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
