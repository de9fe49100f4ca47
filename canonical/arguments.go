package canonical

import (
	"fmt"

	"github.com/gowebpki/jcs"
)

// What Arguments accepts.
const (
	MaxArgumentBytes = 256 << 10
	MaxArgumentDepth = 64
)

// Arguments returns the RFC 8785 form of the arguments of a call, which is what a
// person approves, what is hashed and what is forwarded. No bytes at all stand
// for {}. Anything but an object is refused, and so are keys that differ only in
// case and numbers that a float64 does not keep: all above 2^53−1, and those with
// more digits than its shortest form.
//
// The error is an *Error.
func Arguments(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return []byte("{}"), nil
	}
	s := scanner{
		data:        data,
		limits:      Limits{MaxBytes: MaxArgumentBytes, MaxDepth: MaxArgumentDepth, FoldedKeys: true},
		safeNumbers: true,
	}
	if err := s.outermost('{', CodeNotObject, "arguments are not an object"); err != nil {
		return nil, err
	}
	canonical, err := jcs.Transform(data)
	if err != nil {
		return nil, fmt.Errorf("writing arguments in canonical form: %w", &Error{Code: CodeSyntax, Msg: err.Error()})
	}
	return canonical, nil
}
