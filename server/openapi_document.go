package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/client"
	"countersign/identity"
)

// apiVersion is that of /v1 as the document names it: what is added raises the second number.
const apiVersion = "1.1.0"

const aboutAPI = `The control plane for gateways and for automation. What the console can do, an automation client with the same
role can do here, except what is kept for people: pinning a definition, voting on a call, lowering a risk, ending a
guardrail, and making credentials.

Ids and cursors are opaque. Members may be added to what is answered; a client ignores those that it does not know.`

var problemContent = content{problemType, reflect.TypeFor[client.ProblemReply]()}

// describes serves the document, which is made once.
func (s *Server) describes() deed {
	return deed{
		handler: func(c echo.Context, _ identity.Principal) error {
			c.Response().Header().Set("Cache-Control", "public, max-age=300")
			return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, s.openAPI)
		},
		replies: []reply{{status: http.StatusOK, contents: []content{{media: echo.MIMEApplicationJSON}}}},
	}
}

// openAPIDocument is the OpenAPI 3.1 document of the operations, served at a public URL.
func openAPIDocument(operations []operation, publicURL string) ([]byte, error) {
	all, err := componentsOf(operations)
	if err != nil {
		return nil, err
	}
	paths := object{}
	for _, o := range operations {
		path := braced(o.path)
		item, ok := paths[path].(object)
		if !ok {
			item = object{}
			paths[path] = item
		}
		described, err := o.describe(all)
		if err != nil {
			return nil, fmt.Errorf("describing %s %s: %w", o.method, o.path, err)
		}
		item[strings.ToLower(o.method)] = described
	}
	return json.Marshal(object{
		"openapi":  "3.1.0",
		"info":     object{"title": "Countersign", "version": apiVersion, "description": aboutAPI},
		"servers":  []object{{"url": cmp.Or(publicURL, "/")}},
		"tags":     []object{{"name": forGateways}, {"name": forAutomation}, {"name": forEverybody}},
		"security": []object{{"client": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas": all.components,
			"securitySchemes": object{"client": object{
				"type":        "oauth2",
				"description": "A client's id and secret buy an access token that lives ten minutes.",
				"flows":       object{"clientCredentials": object{"tokenUrl": cmp.Or(publicURL, "") + client.PathToken, "scopes": object{}}},
			}},
		},
	})
}

// componentsOf makes the components of all operations: twice, since the first time shows which names are our own.
func componentsOf(operations []operation) (*schemas, error) {
	draft := newSchemas()
	if err := draft.register(operations); err != nil {
		return nil, err
	}
	all := newSchemas()
	for t := range draft.names {
		if t.PkgPath() == ownPackage {
			all.own[newSchemas().name(t)] = true
		}
	}
	return all, all.register(operations)
}

// register makes the components: what stands in a request first, since it takes no unknown members.
func (s *schemas) register(operations []operation) error {
	for _, s.closed = range []bool{true, false} {
		for _, o := range operations {
			if err := o.register(s, s.closed); err != nil {
				return fmt.Errorf("describing %s %s: %w", o.method, o.path, err)
			}
		}
	}
	return nil
}

// The tags.
const (
	forGateways   = "gateways"
	forAutomation = "automation"
	forEverybody  = "everybody"
)

func (o operation) tag() string {
	switch {
	case o.access.public:
		return forEverybody
	case o.access.action == identity.Enforce:
		return forGateways
	}
	return forAutomation
}

// register makes the components of the requests, or those of the replies.
func (o operation) register(all *schemas, requests bool) error {
	contents := []content{problemContent}
	if requests {
		contents = nil
		if o.request != nil {
			contents = []content{*o.request}
		}
	} else {
		for _, r := range o.replies {
			contents = append(contents, r.contents...)
		}
	}
	for _, c := range contents {
		if _, err := all.of(c.body); err != nil {
			return err
		}
	}
	return nil
}

func (o operation) describe(all *schemas) (object, error) {
	parameters, err := o.parameters(all)
	if err != nil {
		return nil, err
	}
	d := object{"operationId": o.id(), "summary": o.summary, "tags": []string{o.tag()}, "parameters": parameters}
	if o.access.public {
		d["security"] = []object{}
	}
	if o.request != nil {
		body, err := all.contents(*o.request)
		if err != nil {
			return nil, err
		}
		d["requestBody"] = object{"required": true, "content": body}
	}
	d["responses"], err = o.responses(all)
	return d, err
}

// id is the method and the path, in one word.
func (o operation) id() string {
	var id strings.Builder
	id.WriteString(strings.ToLower(o.method))
	for _, part := range strings.FieldsFunc(o.path, func(r rune) bool { return strings.ContainsRune("/:-.", r) })[1:] {
		id.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return id.String()
}

func (o operation) responses(all *schemas) (object, error) {
	responses := object{}
	for _, r := range o.replies {
		response := object{"description": http.StatusText(r.status)}
		if len(r.contents) > 0 {
			body, err := all.contents(r.contents...)
			if err != nil {
				return nil, err
			}
			response["content"] = body
		}
		headers := object{}
		for _, h := range r.headers {
			headers[h.name] = object{"description": h.doc, "schema": object{"type": "string"}}
		}
		if len(headers) > 0 {
			response["headers"] = headers
		}
		responses[strconv.Itoa(r.status)] = response
	}
	refusal, err := all.contents(problemContent)
	for status, doc := range o.refusals() {
		if code := strconv.Itoa(status); responses[code] == nil {
			responses[code] = object{"description": doc, "content": refusal}
		}
	}
	responses["default"] = object{"description": "Any other problem.", "content": refusal}
	return responses, err
}

// refusals are the problems that an operation can answer with by its very form.
func (o operation) refusals() map[int]string {
	all := map[int]string{http.StatusBadRequest: "The request is not well formed; fields says what is wrong."}
	if o.access.bearer {
		all[http.StatusUnauthorized] = "There is no access token, or it is not good."
		all[http.StatusForbidden] = "The client may not do this. Code interactive_only: a person has to do it in a session."
	}
	if strings.Contains(o.path, ":") {
		all[http.StatusNotFound] = "There is no such thing."
	}
	if o.request != nil {
		all[http.StatusRequestEntityTooLarge] = "The body is too large."
		all[http.StatusUnsupportedMediaType] = "The body is of another media type."
	}
	if isUnsafe(o.method) {
		all[http.StatusConflict] = "It is not possible as things are. Code idempotency_in_progress: the outcome of an earlier request with this key is not known."
	}
	if o.ifMatch {
		all[http.StatusPreconditionFailed] = "It was changed since: read it again."
		all[http.StatusPreconditionRequired] = "If-Match is missing."
	}
	if o.idempotent {
		all[http.StatusUnprocessableEntity] = "The Idempotency-Key was used for another request."
	}
	return all
}

var pathParameter = regexp.MustCompile(`:(\w+)`)

// braced is a path as OpenAPI writes it.
func braced(path string) string { return pathParameter.ReplaceAllString(path, "{$1}") }

func (o operation) parameters(all *schemas) ([]object, error) {
	out := []object{}
	for _, m := range pathParameter.FindAllStringSubmatch(o.path, -1) {
		out = append(out, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	if o.query != nil {
		for _, f := range reflect.VisibleFields(o.query) {
			if f.Tag.Get("query") == "" {
				continue // what it embeds
			}
			p, err := queryParameter(all, f)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	headers := slices.Clone(o.headers)
	if o.idempotent {
		headers = append(headers, header{idempotencyKey, "1 to 200 visible characters, new for each thing that is to be done. " +
			"The same request with the same key is done once, and answered the same for 24 hours."})
	}
	for _, h := range headers {
		out = append(out, object{"name": h.name, "in": "header", "description": h.doc, "schema": object{"type": "string"}})
	}
	if o.ifMatch {
		out = append(out, object{
			"name": "If-Match", "in": "header", "required": true, "schema": object{"type": "string", "pattern": `^"v[0-9]+"$`},
			"description": "The ETag of what the client read.",
		})
	}
	return out, nil
}

// contents is a body in one of several media types.
func (s *schemas) contents(contents ...content) (object, error) {
	out := object{}
	for _, c := range contents {
		schema, err := s.of(c.body)
		if err != nil {
			return nil, err
		}
		out[c.media] = object{"schema": schema}
	}
	return out, nil
}
