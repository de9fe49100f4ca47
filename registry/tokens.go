package registry

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/tiktoken-go/tokenizer"
)

// Of what is longer than this, the tokens are estimated from its length: counting costs time that a server would
// choose for us.
const maxCountedBytes = 64 << 10

// bytesPerToken is low for real definitions (3.9 to 4.9 were measured), so what is estimated is not too cheap.
const bytesPerToken = 4

// encoding is the vocabulary o200k, made ready the first time it is needed.
var encoding = sync.OnceValues(func() (tokenizer.Codec, error) { return tokenizer.Get(tokenizer.O200kBase) })

// Tokens estimates what a definition costs a model to read: the tokens of its compact JSON in the encoding o200k.
// Other models count differently, and clients put definitions in words of their own, so it is good for comparing and
// roughly right. It is at least 1.
func Tokens(raw json.RawMessage) int {
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		compact.Reset()
		compact.Write(raw)
	}
	estimate := max(1, compact.Len()/bytesPerToken)
	if compact.Len() > maxCountedBytes {
		return estimate
	}
	codec, err := encoding()
	if err != nil {
		return estimate
	}
	n, err := codec.Count(compact.String())
	if err != nil {
		return estimate
	}
	return max(1, n)
}
