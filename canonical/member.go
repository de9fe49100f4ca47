package canonical

import (
	"bytes"
	"encoding/json"
)

// Member is a key of an object and its value, as it was received.
type Member struct {
	Key   string          // unescaped
	Value json.RawMessage // the bytes of the value, without space around them
}

// Members returns the members of an object, in order. It refuses, all the way
// down, what Check refuses without limits; the values are slices of the input,
// not copies. The error is an *Error.
func Members(object []byte) ([]Member, error) {
	s := scanner{data: object}
	var members []Member
	s.part = func(f *frame, start, end int) {
		members = append(members, Member{Key: string(f.key), Value: object[start:end:end]})
	}
	if err := s.outermost('{', CodeNotObject, "an object is needed"); err != nil {
		return nil, err
	}
	return members, nil
}

// Fields returns the members of an object whose protocol gives meaning to the
// keys in names. Beyond what Members refuses, it refuses a key that is one of
// them only when case is ignored ("Method", "paramſ"): a lenient reader further
// on would take it for that field, and we would not.
func Fields(object []byte, names ...string) ([]Member, error) {
	members, err := Members(object)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		for _, name := range names {
			if m.Key != name && bytes.EqualFold([]byte(m.Key), []byte(name)) {
				return nil, &Error{
					Code: CodeCaseVariantKey, Path: "/" + name,
					Msg: "a key differs from a field of the protocol only in case",
				}
			}
		}
	}
	return members, nil
}

// Elements returns the elements of an array, in order, under the same terms as
// Members.
func Elements(array []byte) ([]json.RawMessage, error) {
	s := scanner{data: array}
	var elements []json.RawMessage
	s.part = func(_ *frame, start, end int) {
		elements = append(elements, array[start:end:end])
	}
	if err := s.outermost('[', CodeNotArray, "an array is needed"); err != nil {
		return nil, err
	}
	return elements, nil
}

// outermost scans data, which must be an array or object as open says.
func (s *scanner) outermost(open byte, code, msg string) error {
	if err := s.admit(); err != nil {
		return err
	}
	s.skipSpace()
	if c := s.peek(); c != open && c != 0 {
		return s.refuse(code, s.pos, msg)
	}
	return s.scan()
}

// Lookup returns the value of a key.
func Lookup(members []Member, key string) (value json.RawMessage, ok bool) {
	for i := range members {
		if members[i].Key == key {
			return members[i].Value, true
		}
	}
	return nil, false
}

// Text returns what a JSON string stands for; ok is false if value is not a
// string that Check accepts.
func Text(value []byte) (text string, ok bool) {
	value = bytes.Trim(value, " \t\r\n")
	if len(value) == 0 || value[0] != '"' || Check(value, Limits{}) != nil {
		return "", false
	}
	return string(appendUnescaped(nil, value[1:len(value)-1])), true
}

// AppendObject appends the object with these members, in this order. Keys are
// escaped anew; the bytes of the values, which must be JSON, are not touched.
func AppendObject(dst []byte, members []Member) []byte {
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, m.Key)
		dst = append(dst, ':')
		dst = append(dst, m.Value...)
	}
	return append(dst, '}')
}

// AppendArray appends the array of these elements, whose bytes, which must be
// JSON, are not touched.
func AppendArray(dst []byte, elements []json.RawMessage) []byte {
	dst = append(dst, '[')
	for i, e := range elements {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, e...)
	}
	return append(dst, ']')
}
