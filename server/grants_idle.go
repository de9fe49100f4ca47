package server

import (
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/registry"
	"countersign/web"
)

// idlePage is how many grants a list of idle ones shows: each is read by itself.
const idlePage = 25

// idleGrants gives a page of the grants that are unused or end soon.
func (s *Server) idleGrants(c echo.Context, who identity.Principal, show string) ([]registry.Grant, string, error) {
	ctx := c.Request().Context()
	page, err := s.delivery.IdleGrants(ctx, who, delivery.IdleFilter{Idle: delivery.Idleness(show), After: c.QueryParam("after"), Limit: idlePage})
	if err != nil {
		return nil, "", err
	}
	var grants []registry.Grant
	for _, idle := range page.Items {
		grant, err := s.registry.Grant(ctx, who, idle.ID)
		if err != nil {
			return nil, "", err
		}
		grants = append(grants, grant)
	}
	return grants, page.Next, nil
}

// tellUse says of an open grant when it was used last, and whether that is long ago.
func tellUse(line *web.GrantLine, uses map[string]time.Time, now time.Time) {
	if line.State != string(registry.GrantInForce) && line.State != string(registry.GrantLater) {
		return
	}
	line.Watched = true
	if used, ever := uses[line.ID]; ever {
		line.UsedAt, line.Idle = &used, now.Sub(used) > delivery.UnusedAfter
	} else {
		line.Idle = now.Sub(line.CreatedAt) > delivery.SettledAfter
	}
	line.Soon = line.NotAfter != nil && line.NotAfter.Sub(now) <= delivery.ExpiresSoon
}
