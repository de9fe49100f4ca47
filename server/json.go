package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
)

// Limits of a request body. A discovery carries every definition of a server, so it gets more.
const (
	bodyLimit      = 1 << 20
	discoveryLimit = 20 << 20
)

// api adapts a function of a request to a handler: it decodes strictly, calls and encodes. A nil answer is
// 204. Every /v1 handler goes through it, so that none forgets a check.
func api[Req, Resp any](limit int64, fn func(c echo.Context, who identity.Principal, in Req) (*Resp, int, error)) handler {
	return func(c echo.Context, who identity.Principal) error {
		var in Req
		if err := decodeJSON(c, limit, &in); err != nil {
			return err
		}
		out, status, err := fn(c, who, in)
		switch {
		case err != nil:
			return err
		case out == nil:
			return c.NoContent(http.StatusNoContent)
		}
		c.Response().Header().Set("Cache-Control", "no-store")
		return c.JSON(status, out)
	}
}

// none is the request of a handler without a body.
type none struct{}

func decodeJSON(c echo.Context, limit int64, into any) error {
	if _, empty := into.(*none); empty {
		return nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return problem.New(problem.TooLarge, "too_large", "The body is larger than %d bytes. Nothing was changed.", limit)
	}
	if err != nil {
		return problem.New(problem.Invalid, "unreadable_body", "The body could not be read to its end.").Because(err)
	}
	if err := canonical.Check(body, canonical.Limits{MaxBytes: int(limit), MaxDepth: canonical.MaxDefinitionDepth + 8}); err != nil {
		return problem.New(problem.Invalid, "invalid_json", "The body is not acceptable JSON: %v.", err)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return problem.New(problem.Invalid, "invalid_json", "The body does not have the expected form: %v.", err)
	}
	return nil
}

// problemJSON is the RFC 9457 form of a problem.
type problemJSON struct {
	Type   string            `json:"type"`
	Title  string            `json:"title"`
	Status int               `json:"status"`
	Detail string            `json:"detail"`
	Code   string            `json:"code"`
	Fields map[string]string `json:"fields,omitempty"`
}

func writeProblem(c echo.Context, p *problem.Error) error {
	if p.RetryAfter > 0 {
		seconds := int64((p.RetryAfter + time.Second - 1) / time.Second)
		c.Response().Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	body, err := json.Marshal(problemJSON{
		Type: p.Type(), Title: http.StatusText(p.Kind.Status()), Status: p.Kind.Status(),
		Detail: p.Message, Code: p.Code, Fields: p.Fields,
	})
	if err != nil {
		return err
	}
	return c.Blob(p.Kind.Status(), "application/problem+json", body)
}
