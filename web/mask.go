package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// mask hides secrets anywhere inside JSON; what is no secret stays byte for byte. It reads every byte once, however
// deep it lies. What is no JSON is not shown at all.
func mask(value json.RawMessage) json.RawMessage {
	m := masker{dec: json.NewDecoder(bytes.NewReader(value)), in: value}
	m.dec.UseNumber()
	err := m.value("")
	if _, rest := m.dec.Token(); err != nil || !errors.Is(rest, io.EOF) {
		return quoted("Not readable as JSON")
	}
	return m.out.Bytes()
}

// masker copies JSON from in to out, token by token.
type masker struct {
	dec *json.Decoder
	in  []byte
	out bytes.Buffer
}

// next gives a token, where it begins, and its bytes as they stand.
func (m *masker) next() (token json.Token, begin int64, raw []byte, err error) {
	from := m.dec.InputOffset()
	token, err = m.dec.Token()
	end := m.dec.InputOffset()
	raw = bytes.TrimLeft(m.in[from:end], " \t\r\n,:")
	return token, end - int64(len(raw)), raw, err
}

// value copies one value that stands under key, or in a list without one.
func (m *masker) value(key string) error {
	token, begin, raw, err := m.next()
	if err != nil {
		return err
	}
	if rule := ruleFor(key, raw); rule != "" {
		if err := m.skip(token); err != nil {
			return err
		}
		m.out.Write(quoted(maskWords(rule, m.in[begin:m.dec.InputOffset()])))
		return nil
	}
	m.out.Write(raw)
	if token != json.Delim('{') && token != json.Delim('[') {
		return nil
	}
	for first := true; m.dec.More(); first = false {
		if !first {
			m.out.WriteByte(',')
		}
		if err := m.member(token); err != nil {
			return err
		}
	}
	_, _, raw, err = m.next()
	m.out.Write(raw)
	return err
}

// member copies a member of an object with its key, or an element of a list.
func (m *masker) member(of json.Token) error {
	if of != json.Delim('{') {
		return m.value("")
	}
	token, _, raw, err := m.next()
	if err != nil {
		return err
	}
	m.out.Write(raw)
	m.out.WriteByte(':')
	key, _ := token.(string)
	return m.value(key)
}

// skip passes over what began with token.
func (m *masker) skip(token json.Token) error {
	for depth := 0; ; {
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		var err error
		if token, err = m.dec.Token(); err != nil {
			return err
		}
	}
}
