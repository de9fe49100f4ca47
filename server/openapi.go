package server

import (
	"net/http"
	"reflect"
	"slices"

	"github.com/labstack/echo/v4"

	"countersign/identity"
)

const patch = http.MethodPatch

// operation is one line of the table of what machines may ask for. Both the route and its part of the OpenAPI
// document are made of it, so that neither can say something else than the other.
type operation struct {
	method, path string
	access       access
	summary      string
	deed
}

// deed is the handler of an operation, and what its types say of the requests it takes and the replies it gives.
// The constructors (exchanges, lists, reads, makes, changes) take the types from the handler's function itself.
type deed struct {
	handler    handler
	query      reflect.Type // a struct of query parameters; nil: none
	headers    []header     // what is read from the request's header besides
	request    *content     // nil: no body
	replies    []reply
	ifMatch    bool // the request has to name the version that it changes
	idempotent bool // the request may carry an Idempotency-Key
}

// content is a body: its media type and what is in it.
type content struct {
	media string
	body  reflect.Type // nil: only the media type is known
}

// header is one of a request or of a reply.
type header struct{ name, doc string }

// reply is an answer that is no problem. Every other answer is a problem (RFC 9457), unless other says so.
type reply struct {
	status   int
	contents []content // none: no body
	headers  []header
}

// operations is the table of all operations: those of gateways, then those of automation.
func (s *Server) operations() []operation {
	return slices.Concat(s.gatewayOperations(), s.bundleOperations(), s.automationOperations(), s.planOperations(), s.rolloutOperations(),
		s.historyOperations(), s.policyOperations(), s.approvalOperations(), s.channelOperations(), s.usageOperations(), s.agentOperations())
}

// machineRoutes are the routes of all operations.
func (s *Server) machineRoutes() []route {
	operations := s.operations()
	routes := make([]route, 0, len(operations))
	for _, o := range operations {
		routes = append(routes, route{o.method, o.path, o.access, o.handler})
	}
	return routes
}

// exchanges is a deed of a gateway: JSON in, and out with one of the statuses. Without a body it is 204.
func exchanges[Req, Resp any](limit int64, fn func(c echo.Context, who identity.Principal, in Req) (*Resp, int, error), statuses ...int) deed {
	d := deed{handler: api(limit, fn), request: bodyOf[Req]()}
	for _, status := range statuses {
		d.replies = append(d.replies, replyOf[Resp](status))
	}
	return d
}

// bodyOf is the JSON of a type; nil for none.
func bodyOf[T any]() *content {
	if reflect.TypeFor[T]() == reflect.TypeFor[none]() {
		return nil
	}
	return &content{media: echo.MIMEApplicationJSON, body: reflect.TypeFor[T]()}
}

func replyOf[T any](status int, headers ...header) reply {
	r := reply{status: status, headers: headers}
	if body := bodyOf[T](); body != nil && status != http.StatusNoContent {
		r.contents = []content{*body}
	}
	return r
}

// waiting is the query of a request that waits for a change.
type waiting struct {
	Wait int `query:"wait" max:"45" doc:"Seconds to wait for a change before answering."`
}

// with adds a query to a deed that reads its own.
func (d deed) with(query reflect.Type) deed {
	d.query = query
	return d
}
