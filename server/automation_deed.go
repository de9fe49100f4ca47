package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
)

// Headers of replies, as the document describes them.
var (
	etagHeader     = header{"ETag", "The version, for If-Match."}
	locationHeader = header{"Location", "Where the new thing is."}
	movedHeader    = header{client.HeaderRevision, "The policy's new generation, if this moved it: ask GET /v1/policy/rollout who enforces it."}
	replayedHeader = header{idempotencyReplayed, "true: this answers an earlier request with the same Idempotency-Key."}
)

// versioned is a resource whose changes say which version they are of.
type versioned interface{ version() int64 }

// addressed is a resource that has an address of its own.
type addressed interface{ address() string }

// listJSON is one page of a list.
type listJSON[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"The cursor of the page after this one; not there at the end."`
}

// paging is the part of a query that turns the pages.
type paging struct {
	After string `query:"after" doc:"The cursor that the page before gave as next."`
	Limit int    `query:"limit" max:"200" doc:"How many on a page."`
}

func (p *paging) cursor() *string { return &p.After }

// lists is a deed that gives one page of things, selected by a query.
func lists[Q, T any](fn func(c echo.Context, who identity.Principal, q Q) (registry.Page[T], error)) deed {
	h := func(c echo.Context, who identity.Principal) error {
		var q Q
		if err := readQuery(c.QueryParams(), &q); err != nil {
			return err
		}
		if p, ok := any(&q).(interface{ cursor() *string }); ok {
			if err := readCursor(c, p.cursor()); err != nil {
				return err
			}
		}
		found, err := fn(c, who, q)
		if err != nil {
			return err
		}
		out := listJSON[T]{Items: found.Items, Next: cursor(c, found.Next)}
		if out.Items == nil {
			out.Items = []T{}
		}
		return c.JSON(http.StatusOK, out)
	}
	return deed{handler: h, query: reflect.TypeFor[Q](), replies: []reply{replyOf[listJSON[T]](http.StatusOK)}}
}

// everything is the query of a list that is given whole.
type everything struct{}

// cursor seals where a list goes on: it is of this list, and nobody has to know what is in it.
func cursor(c echo.Context, after string) string {
	if after == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append(cursorMark(c), after...))
}

func cursorMark(c echo.Context) []byte {
	sum := sha256.Sum256([]byte("countersign/cursor/v1 " + c.Path()))
	return sum[:6]
}

func readCursor(c echo.Context, after *string) error {
	if *after == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(*after)
	mark := cursorMark(c)
	if err != nil || len(raw) <= len(mark) || !slices.Equal(raw[:len(mark)], mark) || unreadable(string(raw[len(mark):])) {
		return problem.New(problem.Invalid, "invalid_parameter", "The cursor is not one of this list. Begin again without it.").
			Field("after", "Send next of the page before, as it is.")
	}
	*after = string(raw[len(mark):])
	return nil
}

// reads is a deed that gives one thing.
func reads[T any](fn func(c echo.Context, who identity.Principal) (*T, error)) deed {
	h := func(c echo.Context, who identity.Principal) error {
		if err := readQuery(c.QueryParams(), &everything{}); err != nil {
			return err
		}
		found, err := fn(c, who)
		if err != nil {
			return err
		}
		answer, err := keep(http.StatusOK, found)
		if err != nil {
			return err
		}
		return answer.write(c)
	}
	return deed{handler: h, replies: []reply{replyOf[T](http.StatusOK, etagOf[T]()...)}}
}

func etagOf[T any]() []header {
	if _, ok := any(new(T)).(versioned); ok {
		return []header{etagHeader}
	}
	return nil
}

// makes is a deed that makes something: 201.
func makes[Req, T any](s *Server, fn func(c echo.Context, who identity.Principal, in Req) (*T, error)) deed {
	return writes(s, http.StatusCreated, false, func(c echo.Context, who identity.Principal, _ int64, in Req) (*T, error) { return fn(c, who, in) })
}

// acts is a deed that changes something that has no version, or changes nothing: 200.
func acts[Req, T any](s *Server, fn func(c echo.Context, who identity.Principal, in Req) (*T, error)) deed {
	return writes(s, http.StatusOK, false, func(c echo.Context, who identity.Principal, _ int64, in Req) (*T, error) { return fn(c, who, in) })
}

// changes is a deed that changes the version of something that the client has read: 200.
func changes[Req, T any](s *Server, fn func(c echo.Context, who identity.Principal, version int64, in Req) (*T, error)) deed {
	return writes(s, http.StatusOK, true, fn)
}

func writes[Req, T any](s *Server, status int, ifMatch bool, fn func(c echo.Context, who identity.Principal, version int64, in Req) (*T, error)) deed {
	h := func(c echo.Context, who identity.Principal) error {
		var in Req
		if err := readQuery(c.QueryParams(), &everything{}); err != nil {
			return err
		}
		body, err := readJSON(c, bodyLimit, &in)
		if err != nil {
			return err
		}
		var version int64
		if ifMatch {
			if version, err = seenVersion(c.Request().Header); err != nil {
				return err
			}
		}
		answer, err := s.once(c, who, body, func(ctx context.Context) (kept, error) {
			ctx, moved := registry.WatchMoves(ctx)
			c.SetRequest(c.Request().WithContext(ctx))
			out, err := fn(c, who, version, in)
			if err != nil {
				return kept{}, stale(err)
			}
			answer, err := keep(status, out)
			if g := moved.Generation(); g > 0 && err == nil {
				answer.Headers[client.HeaderRevision] = strconv.FormatInt(g, 10)
			}
			return answer, err
		})
		if err != nil {
			return err
		}
		return answer.write(c)
	}
	headers := append(etagOf[T](), replayedHeader, movedHeader)
	if status == http.StatusCreated {
		headers = append(headers, locationHeader)
	}
	return deed{handler: h, request: bodyOf[Req](), replies: []reply{replyOf[T](status, headers...)}, ifMatch: ifMatch, idempotent: true}
}

// keep is the answer with the thing, its version, and where it is if it is new.
func keep(status int, thing any) (kept, error) {
	answer, err := keepJSON(status, thing)
	if err != nil {
		return kept{}, err
	}
	if v, ok := thing.(versioned); ok {
		answer.Headers["ETag"] = `"v` + strconv.FormatInt(v.version(), 10) + `"`
	}
	if a, ok := thing.(addressed); ok && status == http.StatusCreated {
		answer.Headers[echo.HeaderLocation] = a.address()
	}
	return answer, nil
}

var etagForm = regexp.MustCompile(`^"v([0-9]{1,18})"$`)

// seenVersion reads If-Match, which a change has to carry. Problems: PreconditionRequired if_match_required; Invalid
// invalid_if_match.
func seenVersion(h http.Header) (int64, error) {
	given := h.Values("If-Match")
	if len(given) == 0 {
		return 0, problem.New(problem.PreconditionRequired, "if_match_required",
			"Say with If-Match which version you have read: its ETag. Nothing was changed.")
	}
	match := etagForm.FindStringSubmatch(given[0])
	if len(given) > 1 || match == nil {
		return 0, problem.New(problem.Invalid, "invalid_if_match",
			`If-Match carries one ETag as it was answered, like "v3". Nothing was changed.`).Field("If-Match", `Send one ETag, like "v3".`)
	}
	return strconv.ParseInt(match[1], 10, 64)
}

// versionCodes are the conflicts that mean: the version that was named is no longer the one there is.
var versionCodes = []string{"server_changed", "grant_changed", "guardrail_changed", "team_changed", "policy_test_changed", "agent_changed", "price_changed", "alert_rule_changed"}

// stale turns such a conflict into what HTTP says of it: 412.
func stale(err error) error {
	p := (*problem.Error)(nil)
	if !errors.As(err, &p) || p.Kind != problem.Conflict || !slices.Contains(versionCodes, p.Code) {
		return err
	}
	changed := *p
	changed.Kind = problem.Precondition
	return &changed
}
