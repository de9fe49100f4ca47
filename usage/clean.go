package usage

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"countersign/client"
	"countersign/policy"
)

// Bounds of what a record may say. Numbers beyond are no measurements; names are cut. Two thousand million records of the
// largest numbers still fit into a sum: one gateway that lies must not keep those of others from being added up.
const (
	maxID       = 64
	maxName     = 400     // bytes
	maxBytes    = 1 << 32 // of a request or a response
	maxTokens   = 1 << 32
	maxTimeUS   = 7 * 24 * int64(time.Hour/time.Microsecond)
	maxFiltered = 1_000_000
)

// checkRecord makes the names of a record fit to be stored, and says what is wrong with the rest.
func checkRecord(r *client.CallRecord) (complaint string) {
	if r.CallID == "" || len(r.CallID) > maxID || strings.ContainsFunc(r.CallID, unicode.IsControl) { // records are told apart by it
		return "has no call_id of 1 to 64 characters that print"
	}
	switch r.Decision {
	case client.AllowedCall, client.DeniedCall, client.HeldCall, client.FailedCall:
	default:
		return "has no decision that is known here"
	}
	if r.At.Year() < 2000 || r.At.Year() > 9999 {
		return "has no time"
	}
	for _, n := range []struct {
		value, most int64
		name        string
	}{
		{r.Revision, 1 << 62, "revision"},
		{r.RequestBytes, maxBytes, "request_bytes"},
		{r.ResponseBytes, maxBytes, "response_bytes"},
		{r.RequestTokens, maxTokens, "request_tokens"},
		{r.ResponseTokens, maxTokens, "response_tokens"},
		{r.DurationUS, maxTimeUS, "duration_us"},
		{r.UpstreamUS, maxTimeUS, "upstream_us"},
		{int64(r.Filtered), maxFiltered, "filtered"},
	} {
		if n.value < 0 || n.value > n.most {
			return "has a " + n.name + " that cannot be"
		}
	}
	for _, text := range []*string{
		&r.CallID, &r.Instance, &r.Server, &r.Tool, (*string)(&r.Kind), &r.Reason, &r.Subject, &r.Agent, &r.Model,
		(*string)(&r.ModelAssurance), &r.Session, &r.TraceID,
	} {
		*text = cleanName(*text)
	}
	return ""
}

// cleanName is a name that PostgreSQL stores and an index takes, without control characters: what an agent wrote into one
// of them must not lose the others.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, s)
	if len(s) <= maxName {
		return s
	}
	n := maxName
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Other is the name under which the rest is kept when callers make up too many.
const Other = "(other)"

// How many different names that callers make up are kept, for each gateway and hour.
const (
	maxStrangeTools  = 200
	maxStrangeURIs   = 1000
	maxStrangeModels = 100
)

// How many different names of other calls are kept, for each gateway and hour: more than an honest one knows.
const (
	maxServers  = 5000
	maxTools    = 20_000 // of all servers
	maxAgents   = 5000
	maxSubjects = 20_000
	maxModels   = 500
)

// strange remembers which names were said in the present hour: neither a loop of a caller that makes up a new one for each
// call nor a gateway that lies must make sums as long as the records. It counts in this replica alone, which is enough for a bound.
type strange struct {
	mu    sync.Mutex
	hour  time.Time
	names map[strangeKey]map[uint64]struct{} // their hashes: what is kept is not as long as it is made
	seed  maphash.Seed
}

func newStrange() strange {
	return strange{names: map[strangeKey]map[uint64]struct{}{}, seed: maphash.MakeSeed()}
}

type strangeKey struct{ gateway, what string }

// bound replaces the names of a record of which there are too many of their kind.
func (s *strange) bound(gateway string, r *client.CallRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hour := r.At.Truncate(time.Hour); hour.After(s.hour) { // spooled records of hours before count as of this one
		s.hour = hour
		clear(s.names)
	}
	if r.Model != "" && r.ModelAssurance != policy.Attested && !s.keeps(strangeKey{gateway, "model"}, r.Model, maxStrangeModels) {
		r.Model = Other
	}
	switch {
	case policy.Reason(r.Reason) == policy.ReasonUnknownServer:
		if !s.keeps(strangeKey{gateway, "server"}, r.Server, maxStrangeTools) {
			r.Server = Other
		}
		if !s.keeps(strangeKey{gateway, "tool"}, r.Tool, maxStrangeTools) {
			r.Tool = Other
		}
	case policy.Reason(r.Reason) == policy.ReasonUnknownTool:
		if !s.keeps(strangeKey{gateway, "tool"}, r.Tool, maxStrangeTools) {
			r.Tool = Other
		}
	case r.Kind != policy.KindTool && !s.keeps(strangeKey{gateway, "uri"}, r.Tool, maxStrangeURIs):
		r.Tool = Other
	}
	for _, n := range []struct {
		what string
		name *string
		most int
	}{
		{"any model", &r.Model, maxModels},
		{"any server", &r.Server, maxServers},
		{"any agent", &r.Agent, maxAgents},
		{"any subject", &r.Subject, maxSubjects},
		{"any tool", &r.Tool, maxTools},
	} {
		if *n.name != "" && *n.name != Other && !s.keeps(strangeKey{gateway, n.what}, *n.name, n.most) {
			*n.name = Other
		}
	}
}

func (s *strange) keeps(key strangeKey, name string, most int) bool {
	names := s.names[key]
	if names == nil {
		names = map[uint64]struct{}{}
		s.names[key] = names
	}
	hash := maphash.String(s.seed, name)
	if _, known := names[hash]; known {
		return true
	}
	if len(names) >= most {
		return false
	}
	names[hash] = struct{}{}
	return true
}
