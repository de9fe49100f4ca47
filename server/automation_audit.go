package server

import (
	"cmp"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/audit"
	"countersign/identity"
	"countersign/registry"
)

// eventJSON is one recorded event.
type eventJSON struct {
	ID         string         `json:"id"`
	At         time.Time      `json:"at"`
	Kind       string         `json:"kind"`
	ActorKind  string         `json:"actor_kind"`
	Actor      string         `json:"actor"`
	ActorName  string         `json:"actor_name"`
	TargetKind string         `json:"target_kind"`
	Target     string         `json:"target"`
	TargetName string         `json:"target_name"`
	Detail     map[string]any `json:"detail"`
	IP         string         `json:"ip"`
	RequestID  string         `json:"request_id"`
}

func eventOf(e audit.Entry) eventJSON {
	if e.Detail == nil {
		e.Detail = map[string]any{}
	}
	return eventJSON{
		ID: strconv.FormatInt(e.ID, 10), At: e.At, Kind: e.Kind, ActorKind: e.ActorKind, Actor: e.ActorID, ActorName: e.ActorName,
		TargetKind: e.TargetKind, Target: e.TargetID, TargetName: e.TargetName, Detail: e.Detail, IP: e.IP, RequestID: e.RequestID,
	}
}

type auditQuery struct {
	Kind   string `query:"kind" doc:"A kind, or the beginning of some, with the dot: server."`
	Actor  string `query:"actor" doc:"An id or a name."`
	Target string `query:"target" doc:"An id or a name."`
	paging
}

func (s *Server) listAudit(c echo.Context, who identity.Principal, q auditQuery) (registry.Page[eventJSON], error) {
	f := audit.Filter{Kind: q.Kind, Actor: q.Actor, Target: q.Target, Limit: cmp.Or(q.Limit, auditPageSize)}
	f.Before, _ = strconv.ParseInt(q.After, 10, 64) // "" is the beginning, and a cursor is a number that we wrote
	entries, err := audit.List(c.Request().Context(), s.pool, who, f)
	found := whole(entries, eventOf)
	if len(entries) == f.Limit {
		found.Next = found.Items[len(entries)-1].ID
	}
	return found, err
}
