package desired

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of what is parsed at all. A set is lists of objects of lists: nothing in it is deep.
const (
	maxFileBytes  = 4 << 20
	maxTotalBytes = 16 << 20
	maxFlowDepth  = 20
	maxIndent     = 200
)

// parse gives the one node of a file, nil for an empty one. What a set has no use for is refused before the parser
// sees it: its own recursion and the meaning of anchors, tags and directives are not ours to trust.
func parse(file File) (node ast.Node, fault *Fault) {
	at := Place{File: file.Name}
	if len(file.Data) > maxFileBytes {
		return nil, &Fault{at, fmt.Sprintf("the file is larger than %d MiB", maxFileBytes>>20)}
	}
	defer func() { // a parser that breaks on some text has not read it
		if recover() != nil {
			node, fault = nil, &Fault{at, "this cannot be read as YAML"}
		}
	}()
	tokens := lexer.Tokenize(string(file.Data))
	if fault := refuse(file.Name, tokens); fault != nil {
		return nil, fault
	}
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxFault(at, err)
	}
	switch {
	case len(parsed.Docs) == 0:
		return nil, nil
	case len(parsed.Docs) > 1:
		return nil, &Fault{placeOf(file.Name, parsed.Docs[1].Start), "a second document begins here; expected one for each file"}
	}
	return parsed.Docs[0].Body, nil
}

func syntaxFault(at Place, err error) *Fault {
	if wrong := yaml.Error(nil); errors.As(err, &wrong) {
		return &Fault{placeOf(at.File, wrong.GetToken()), "this is no YAML: " + Visible(wrong.GetMessage())}
	}
	return &Fault{at, "this cannot be read as YAML"}
}

// refuse looks for what has no place in a set.
func refuse(file string, tokens token.Tokens) *Fault {
	depth := 0
	for _, t := range tokens {
		message := ""
		switch t.Type { //nolint:exhaustive // every other token is text or structure
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			message = "anchors, aliases and merge keys are not read; say it in full"
		case token.TagType:
			message = "tags are not read; text that looks like a number goes in quotes"
		case token.DirectiveType:
			message = "directives are not read"
		case token.MappingKeyType:
			message = "keys with ? are not read; expected name: value"
		case token.SequenceStartType, token.MappingStartType:
			if depth++; depth > maxFlowDepth {
				message = "this is nested too deeply"
			}
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingValueType:
			if depth <= 0 && t.Position.Column > maxIndent {
				message = "this is nested too deeply"
			}
		case token.InvalidType:
			message = "this is no YAML: " + Visible(t.Error)
		}
		if message != "" {
			return &Fault{placeOf(file, t), message}
		}
	}
	return nil
}

func placeOf(file string, t *token.Token) Place {
	if t == nil || t.Position == nil {
		return Place{File: file}
	}
	return Place{File: file, Line: t.Position.Line, Column: t.Position.Column}
}
