package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"countersign/internal/pythontest"
)

// python puts questions to examples/embedded/python/answers.py, and gives an answer for each.
func python(t *testing.T, questions []map[string]string) []json.RawMessage {
	t.Helper()
	var in, out, stderr bytes.Buffer
	for _, q := range questions {
		must(t, json.NewEncoder(&in).Encode(q))
	}
	command := pythontest.Command(t, "examples/embedded/python/answers.py")
	command.Stdin, command.Stdout, command.Stderr = &in, &out, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var answers []json.RawMessage
	for line := range bytes.Lines(out.Bytes()) {
		answers = append(answers, line)
	}
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

// TestPythonKnowsTheVectors reads the published vectors of digests as an author of an embedded server does: every refusal
// is among them, 2^53+1, keys given twice or in another case, NUL, depth 65 and lone surrogates.
func TestPythonKnowsTheVectors(t *testing.T) {
	t.Parallel()
	type vector struct {
		Name, Input, Output, Digest, Canonical, Arguments, Refused string
		Call                                                       json.RawMessage
	}
	var questions []map[string]string
	var wants []vector
	read := func(kinds string, path ...string) {
		var file struct{ Vectors []vector }
		text, err := os.ReadFile(filepath.Join(append([]string{"..", "..", ".."}, path...)...))
		must(t, err)
		must(t, json.Unmarshal(text, &file))
		for _, v := range file.Vectors {
			for kind := range strings.FieldsSeq(kinds) {
				question := v.Input
				if kind == "call" {
					question = string(v.Call)
				}
				questions, wants = append(questions, map[string]string{kind: question}), append(wants, v)
			}
		}
	}
	read("exact", "canonical", "testdata", "exact.json")
	read("arguments", "canonical", "testdata", "arguments.json")
	read("exact arguments", "canonical", "testdata", "refused.json")
	read("call", "policy", "testdata", "call_vectors.json")
	refusals := map[string]bool{}
	for i, raw := range python(t, questions) {
		var text string
		var got vector
		if json.Unmarshal(raw, &text) != nil {
			must(t, json.Unmarshal(raw, &got))
		}
		want := wants[i]
		refusals[got.Refused] = true
		if text != want.Output || got.Refused != want.Refused || got.Digest != want.Digest || got.Canonical != want.Canonical ||
			want.Call != nil && got.Arguments != want.Arguments {
			t.Errorf("%s: %s\nwant %+v", want.Name, raw, want)
		}
	}
	for code := range strings.FieldsSeq("unsafe_integer unsafe_number duplicate_key case_variant_key nul_in_key depth lone_surrogate not_object") {
		if !refusals[code] {
			t.Errorf("no vector is refused for %s", code)
		}
	}
}

// TestPythonFoldsAsWeDo compares what counts as the same letter: of every letter, with all that equal it here.
func TestPythonFoldsAsWeDo(t *testing.T) {
	t.Parallel()
	var questions []map[string]string
	var letters [][2]rune
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if unicode.In(r, unicode.Cs) || !unicode.IsLetter(r) || unicode.ToUpper(r) == r && unicode.ToLower(r) == r {
			continue
		}
		letters = append(letters, [2]rune{r, unicode.SimpleFold(r)})
		questions = append(questions, map[string]string{"fold": string(r)}, map[string]string{"fold": string(unicode.SimpleFold(r))})
	}
	answers := python(t, questions)
	for i, pair := range letters {
		if same := bytes.Equal(answers[2*i], answers[2*i+1]); !same {
			t.Errorf("%q and %q differ: %s, %s", pair[0], pair[1], answers[2*i], answers[2*i+1])
		}
	}
}
