package cleanse

import (
	"bytes"
	"errors"
	"strings"

	"countersign/canonical"
)

// What makes a message one that cannot be filtered, only withheld.
var (
	ErrKey    = errors.New("a key of it would have to be changed")
	ErrTicket = errors.New("a token of it has hidden characters")
	ErrDeep   = errors.New("it is nested too deeply")
	ErrJSON   = errors.New("it is not JSON")
)

// maxDepth bounds how deep a message may be nested.
const maxDepth = 500

// Message makes every string of a JSON-RPC message safe, by its place. The message must be one that canonical.Check
// accepts; half surrogate pairs become U+FFFD by Surrogates. It comes back as it is if nothing changed. Keys and numbers
// never change. The error says why the message must be withheld; it is one of those above.
func (f *Filter) Message(raw []byte) ([]byte, Findings, error) {
	w := walker{f: f, in: raw}
	if f.inert && bytes.Contains(raw, []byte("]:")) {
		w.collecting = true
		if err := w.value(rule{place: envelope}, 0); err != nil {
			return nil, Findings{}, err
		}
		w.collecting, w.pos = false, 0
	}
	if err := w.value(rule{place: envelope}, 0); err != nil {
		return nil, Findings{}, err
	}
	if w.found.Texts == 0 {
		return raw, Findings{}, nil
	}
	return append(w.out, raw[w.copied:]...), w.found, nil
}

// walker goes through a message and copies it once something changes.
type walker struct {
	f      *Filter
	in     []byte
	pos    int
	out    []byte
	copied int
	found  Findings

	// The texts of a message may be shown as one: what one defines, an image in another may use.
	collecting bool
	defined    labels
}

func (w *walker) value(r rule, depth int) error {
	if depth > maxDepth {
		return ErrDeep
	}
	switch w.next() {
	case '{':
		return w.object(r, depth)
	case '[':
		return w.array(r, depth)
	case '"':
		return w.text(r.as)
	case 0:
		return ErrJSON
	}
	for w.pos < len(w.in) && bytes.IndexByte([]byte(",]} \t\r\n"), w.in[w.pos]) < 0 {
		w.pos++
	}
	return nil
}

// next skips space and returns the byte after it, 0 at the end.
func (w *walker) next() byte {
	for w.pos < len(w.in) {
		switch c := w.in[w.pos]; c {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return c
		}
	}
	return 0
}

func (w *walker) object(r rule, depth int) error {
	w.pos++
	for {
		switch w.next() {
		case '}':
			w.pos++
			return nil
		case ',':
			w.pos++
			continue
		case '"':
		default:
			return ErrJSON
		}
		key, err := w.key(r)
		if err != nil {
			return err
		}
		if w.next() != ':' {
			return ErrJSON
		}
		w.pos++
		inner := of(r.place, key)
		if r.as == asIs {
			inner = r
		}
		if err := w.value(inner, depth+1); err != nil {
			return err
		}
	}
}

// key reads a key. One that the filter would change makes the message unusable, as what it belongs to changes with it.
func (w *walker) key(r rule) (string, error) {
	key, err := w.unquoted()
	if err != nil || w.collecting || r.as == asIs {
		return key, err
	}
	if _, kinds := w.f.pass(key, nil); kinds != 0 {
		return "", ErrKey
	}
	return key, nil
}

func (w *walker) array(r rule, depth int) error {
	w.pos++
	for {
		switch w.next() {
		case ']':
			w.pos++
			return nil
		case ',':
			w.pos++
			continue
		case 0:
			return ErrJSON
		}
		if err := w.value(r, depth+1); err != nil {
			return err
		}
	}
}

// quoted reads a string with its quotes.
func (w *walker) quoted() ([]byte, error) {
	start := w.pos
	for i := start + 1; i < len(w.in); i++ {
		n := bytes.IndexByte(w.in[i:], '"')
		if n < 0 {
			break
		}
		i += n
		slashes := 0
		for w.in[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			w.pos = i + 1
			return w.in[start:w.pos], nil
		}
	}
	return nil, ErrJSON
}

// unquoted reads a string.
func (w *walker) unquoted() (string, error) {
	raw, err := w.quoted()
	if err != nil {
		return "", err
	}
	return unquote(raw)
}

func unquote(raw []byte) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	s, ok := canonical.Text(raw)
	if !ok {
		return "", ErrJSON
	}
	return s, nil
}

// text reads a string and writes it anew if it has to change.
func (w *walker) text(as treatment) error {
	start := w.pos
	raw, err := w.quoted()
	if err != nil || as == asIs {
		return err
	}
	s, err := unquote(raw)
	if err != nil {
		return err
	}
	if w.collecting {
		if as == asText {
			w.defined = w.f.definitions(s).and(w.defined)
		}
		return nil
	}
	safe, kinds, err := w.treat(as, s)
	if err != nil || kinds == 0 {
		return err
	}
	w.found.add(kinds)
	w.out = append(w.out, w.in[w.copied:start]...)
	w.out = canonical.AppendString(w.out, safe)
	w.copied = w.pos
	return nil
}

// treat makes a string safe for what it is.
func (w *walker) treat(as treatment, s string) (string, Kinds, error) {
	switch as {
	case asTicket:
		if _, kinds := plain(s); kinds != 0 {
			return "", 0, ErrTicket
		}
		return s, 0, nil
	case asName:
		safe, kinds := plain(s)
		return safe, kinds, nil
	case asBytes:
		if isBase64(s) {
			return s, 0, nil
		}
	case asAddress, asIcon:
		safe, kinds := w.f.address(s, as == asIcon)
		return safe, kinds, nil
	case asText, asIs:
	}
	safe, kinds := w.f.text(s, w.defined)
	return safe, kinds, nil
}

// plain removes only what nobody sees.
func plain(s string) (string, Kinds) {
	var all Kinds
	for range rounds {
		if classesOf(s)&(control|high) == 0 {
			break
		}
		next, kinds := strip(s)
		if kinds == 0 {
			break
		}
		s, all = next, all|kinds
	}
	return s, all
}

// noAddress stands for an address that would run something, noIcon for one that would be loaded.
const (
	noAddress = "about:blank"
	noIcon    = "data:,"
)

// address makes an address safe: no hidden characters, nothing that runs, no password. An icon is also from a host that
// is allowed, or in the address itself.
func (f *Filter) address(s string, icon bool) (string, Kinds) {
	s, kinds := plain(s)
	if f.inert {
		switch {
		case icon && (runs(s) || f.loads(s)) && s != noIcon:
			return noIcon, kinds | Active
		case !icon && runs(s) && !strings.HasPrefix(s, "file:"):
			return noAddress, kinds | Active
		}
	}
	if f.secrets {
		if safe, changed := cut(s, passwords(nil, s)); changed {
			return safe, kinds | Secret
		}
	}
	return s, kinds
}

// isBase64 reports whether s is in one of the alphabets of base64, with line ends.
func isBase64(s string) bool {
	for i := range len(s) {
		if c := s[i]; (classes[c]&token == 0 || c == '.' || c == '~') && c != '=' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// Surrogates replaces escaped halves of surrogate pairs by an escaped U+FFFD, which is as long, so that one half of a
// character that a server cut in two does not make its whole message unreadable.
func Surrogates(raw []byte) []byte {
	out := raw
	for i := 0; i < len(raw); {
		n := bytes.IndexByte(raw[i:], '\\')
		if n < 0 {
			break
		}
		i += n
		unit, ok := surrogate(raw[i:])
		switch {
		case !ok:
			i += 2
			continue
		case unit < 0xdc00:
			if low, ok := surrogate(raw[i+6:]); ok && low >= 0xdc00 {
				i += 12
				continue
			}
		}
		if &out[0] == &raw[0] {
			out = bytes.Clone(raw)
		}
		copy(out[i:], `\ufffd`)
		i += 6
	}
	return out
}

// surrogate reads an escaped half of a surrogate pair.
func surrogate(s []byte) (unit rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range s[2:6] {
		switch {
		case c >= '0' && c <= '9':
			unit = unit<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			unit = unit<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return unit, unit >= 0xd800 && unit <= 0xdfff
}
