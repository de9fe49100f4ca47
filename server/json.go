package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/canonical"
	"countersign/client"
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
		return c.JSON(status, out)
	}
}

// none is the request of a handler without a body.
type none struct{}

// decodeJSON is readJSON for who needs no bytes. Nothing is read for none.
func decodeJSON(c echo.Context, limit int64, into any) error {
	_, err := readJSON(c, limit, into)
	return err
}

// readJSON reads the body strictly: one JSON value, no unknown members, none twice. It gives the bytes too.
func readJSON(c echo.Context, limit int64, into any) ([]byte, error) {
	if _, empty := into.(*none); empty {
		return nil, nil
	}
	if kind, _, err := mime.ParseMediaType(c.Request().Header.Get("Content-Type")); err != nil || kind != echo.MIMEApplicationJSON {
		return nil, problem.New(problem.UnsupportedMedia, unsupportedMedia, "Send application/json. Nothing was changed.").Because(err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response().Writer, c.Request().Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, problem.New(problem.TooLarge, "too_large", "The body is larger than %d bytes. Nothing was changed.", limit)
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, "unreadable_body", "The body could not be read to its end.").Because(err)
	}
	limits := canonical.Limits{MaxBytes: int(limit), MaxDepth: canonical.MaxDefinitionDepth + 8}
	limits.FoldedKeys = limit <= bodyLimit // in definitions, which are the server's own, the case may matter
	if err := canonical.Check(body, limits); err != nil {
		return nil, problem.New(problem.Invalid, "invalid_json", "The body is not acceptable JSON: %v.", err)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return nil, problem.New(problem.Invalid, "invalid_json", "The body does not have the expected form: %v.", err)
	}
	return body, nil
}

const problemType = "application/problem+json"

// problemOf is the RFC 9457 form of a problem.
func problemOf(p *problem.Error) client.ProblemReply {
	status := p.Kind.Status()
	return client.ProblemReply{
		Type: p.Type(), Title: http.StatusText(status), Status: status, Detail: p.Message, Code: p.Code, Fields: p.Fields,
	}
}

func writeProblem(c echo.Context, p *problem.Error) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	body, err := json.Marshal(problemOf(p))
	if err != nil {
		return err
	}
	return c.Blob(p.Kind.Status(), problemType, body)
}
