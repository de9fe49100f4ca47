package policy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"countersign/canonical"
)

// encoder writes a document as encoding/json does without escapes for HTML, and several times as fast: nearly all of a
// document is servers, tools and grants, which it writes by hand. A test holds it to encoding/json, byte by byte.
type encoder struct {
	bytes.Buffer
}

// encode writes d. The error is that of an input schema that is not JSON, or of a time out of range.
func encode(d *Document) ([]byte, error) {
	e := &encoder{}
	e.Grow(256 + 512*len(d.Servers) + 256*len(d.Grants))
	if err := e.document(d); err != nil {
		return nil, fmt.Errorf("encoding policy: %w", err)
	}
	return e.Bytes(), nil
}

func (e *encoder) document(d *Document) error {
	e.first("format").text(d.Format)
	e.next("issuer").text(d.Issuer)
	e.next("audience").text(d.Audience)
	e.next("epoch").number(d.Epoch)
	e.next("revision").number(d.Revision)
	if err := e.next("issued_at").value(d.IssuedAt); err != nil {
		return err
	}
	e.next("max_stale_seconds").number(int64(d.MaxStaleSeconds))
	if err := list(e.next("servers"), d.Servers, e.server); err != nil {
		return err
	}
	if err := list(e.next("grants"), d.Grants, e.grant); err != nil {
		return err
	}
	if err := e.next("guardrails").value(d.Guardrails); err != nil { // few
		return err
	}
	if len(d.Keys) > 0 {
		if err := list(e.next("keys"), d.Keys, e.key); err != nil {
			return err
		}
	}
	if len(d.Agents) > 0 {
		if err := list(e.next("agents"), d.Agents, e.agent); err != nil {
			return err
		}
	}
	return e.WriteByte('}')
}

func (e *encoder) key(k *Key) error {
	e.first("hash").digest(k.Hash)
	e.next("agent").text(k.Agent)
	e.next("subject").text(k.Subject)
	if err := e.next("not_after").value(k.NotAfter); err != nil {
		return err
	}
	return e.WriteByte('}')
}

func (e *encoder) agent(a *Agent) error {
	e.first("agent").text(a.Agent)
	if err := e.next("models").value(a.Models); err != nil {
		return err
	}
	return e.WriteByte('}')
}

func (e *encoder) server(s *Server) error {
	e.first("id").text(s.ID)
	e.next("name").text(s.Name)
	e.next("state").text(s.State)
	e.next("team").text(s.Team)
	e.texts("labels", s.Labels)
	if err := e.next("endpoint").value(s.Endpoint); err != nil {
		return err
	}
	if len(s.ClientRequests) > 0 {
		if err := e.next("client_requests").value(s.ClientRequests); err != nil {
			return err
		}
	}
	if err := list(e.next("tools"), s.Tools, e.tool); err != nil {
		return err
	}
	return e.WriteByte('}')
}

func (e *encoder) tool(t *Tool) error {
	e.first("id").text(t.ID)
	e.next("kind").text(string(t.Kind))
	e.next("name").text(t.Name)
	e.next("definition").digest(t.Definition)
	e.next("risk").text(string(t.Risk))
	e.texts("labels", t.Labels)
	e.flag("held", t.Held)
	if len(t.InputSchema) > 0 {
		if err := json.Compact(&e.next("input_schema").Buffer, t.InputSchema); err != nil {
			return err
		}
	}
	e.flag("has_output_schema", t.HasOutputSchema)
	e.numbers("grants", t.Grants)
	e.numbers("guardrails", t.Guardrails)
	return e.WriteByte('}')
}

func (e *encoder) grant(g *Grant) error {
	e.first("id").text(g.ID)
	e.next("name").text(g.Name)
	e.next("subject").subject(&g.Subject)
	for _, at := range []struct {
		key  string
		time *time.Time
	}{{"not_before", g.NotBefore}, {"not_after", g.NotAfter}} {
		if at.time == nil {
			continue
		}
		if err := e.next(at.key).value(at.time); err != nil {
			return err
		}
	}
	if g.Condition != "" {
		e.next("condition").text(g.Condition)
	}
	return e.WriteByte('}')
}

func (e *encoder) subject(s *Subject) {
	start := e.Len()
	e.flag("everyone", s.Everyone)
	e.texts("users", s.Users)
	e.texts("groups", s.Groups)
	e.texts("agents", s.Agents)
	e.texts("models", s.Models)
	e.flag("allow_declared", s.AllowDeclared)
	if e.Len() == start {
		e.WriteByte('{')
	}
	e.Bytes()[start] = '{' // where the first member has a comma
	e.WriteByte('}')
}

// first begins an object with a member.
func (e *encoder) first(key string) *encoder { return e.member('{', key) }

// next goes on with another member.
func (e *encoder) next(key string) *encoder { return e.member(',', key) }

func (e *encoder) member(before byte, key string) *encoder {
	e.WriteByte(before)
	e.WriteByte('"')
	e.WriteString(key)
	e.WriteString(`":`)
	return e
}

// flag writes a member that is left out when it is false.
func (e *encoder) flag(key string, set bool) {
	if set {
		e.next(key).WriteString("true")
	}
}

// texts writes a member that is left out when it is empty.
func (e *encoder) texts(key string, texts []string) {
	if len(texts) == 0 {
		return
	}
	e.next(key)
	for i, t := range texts {
		e.WriteByte("[,"[min(i, 1)])
		e.text(t)
	}
	e.WriteByte(']')
}

// numbers writes a member that is left out when it is empty.
func (e *encoder) numbers(key string, numbers []int) {
	if len(numbers) == 0 {
		return
	}
	e.next(key)
	for i, n := range numbers {
		e.WriteByte("[,"[min(i, 1)])
		e.number(int64(n))
	}
	e.WriteByte(']')
}

// list writes an array, or null.
func list[T any](e *encoder, all []T, write func(*T) error) error {
	if all == nil {
		e.WriteString("null")
		return nil
	}
	e.WriteByte('[')
	for i := range all {
		if i > 0 {
			e.WriteByte(',')
		}
		if err := write(&all[i]); err != nil {
			return err
		}
	}
	return e.WriteByte(']')
}

func (e *encoder) number(n int64) { e.Write(strconv.AppendInt(e.AvailableBuffer(), n, 10)) }

func (e *encoder) digest(d canonical.Digest) {
	e.WriteString(`"sha256:`)
	e.Write(hex.AppendEncode(e.AvailableBuffer(), d[:]))
	e.WriteByte('"')
}

// text writes a string. One with anything that may need an escape is for encoding/json.
func (e *encoder) text(s string) {
	if plain(s) {
		e.WriteByte('"')
		e.WriteString(s)
		e.WriteByte('"')
		return
	}
	_ = e.value(s) // a string can always be written
}

// plain reports whether s is written as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// value writes anything by encoding/json.
func (e *encoder) value(v any) error {
	text, err := marshal(v)
	e.Write(text)
	return err
}
