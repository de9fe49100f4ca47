package server

import (
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/notify"
	"countersign/registry"
)

// channelOperations read where people are told and whether it arrives. To make a channel, to change where it goes or to
// rotate its secret needs a person in a session.
func (s *Server) channelOperations() []operation {
	read := machine(identity.ReadChannels)
	return []operation{
		{get, "/v1/channels", read, "Where people and programs are told, by name. Addresses are shown in part.", lists(s.listChannels)},
		{get, "/v1/channels/:id", read, "A channel, and whether what is sent to it arrives.", reads(s.readChannel)},
		{get, "/v1/channels/:id/deliveries", read, "What was sent to a channel, newest first, with each attempt.", lists(s.listDeliveries)},
		{post, "/v1/channels/:id/test", machine(identity.TestChannel), "Send a test to a channel right now, and say what came of it. It is not tried again.", acts(s, s.tryChannel)},
	}
}

type channelJSON struct {
	ID            string       `json:"id"`
	Name          string       `json:"name"`
	Kind          notify.Kind  `json:"kind"`
	State         notify.State `json:"state"`
	Address       string       `json:"address" doc:"What may be shown of it."`
	Team          string       `json:"team,omitempty" doc:"The id of the team: it is told what this team is asked alone."`
	TeamName      string       `json:"team_name,omitempty"`
	Topics        []string     `json:"topics"`
	DigestSeconds int          `json:"digest_seconds" doc:"0: each at once."`
	Waiting       int          `json:"waiting" doc:"Messages that are not finished."`
	CreatedAt     time.Time    `json:"created_at"`
	DeliveredAt   *time.Time   `json:"delivered_at,omitempty"`
	FailingSince  *time.Time   `json:"failing_since,omitempty"`
	LastError     string       `json:"last_error,omitempty"`
	PausedAt      *time.Time   `json:"paused_at,omitempty"`
	PausedBecause string       `json:"paused_because,omitempty"`
	OverlapUntil  *time.Time   `json:"overlap_until,omitempty" doc:"Until then two secrets sign."`
	EndedAt       *time.Time   `json:"ended_at,omitempty"`
}

func channelOf(c notify.Channel) channelJSON {
	return channelJSON{
		ID: c.ID, Name: c.Name, Kind: c.Kind, State: c.State(), Address: c.Shown, Team: c.TeamID, TeamName: c.TeamName, Topics: c.Topics,
		DigestSeconds: c.DigestSeconds, Waiting: c.Waiting, CreatedAt: c.CreatedAt, DeliveredAt: c.DeliveredAt, FailingSince: c.FailingSince,
		LastError: c.LastError, PausedAt: c.PausedAt, PausedBecause: c.PausedBecause, OverlapUntil: c.OverlapUntil, EndedAt: c.EndedAt,
	}
}

func (s *Server) listChannels(c echo.Context, who identity.Principal, _ everything) (registry.Page[channelJSON], error) {
	channels, err := s.notify.Channels(c.Request().Context(), who)
	return each(registry.Page[notify.Channel]{Items: channels}, channelOf), err
}

func (s *Server) readChannel(c echo.Context, who identity.Principal) (*channelJSON, error) {
	return said(channelOf)(s.notify.Channel(c.Request().Context(), who, c.Param("id")))
}

type deliveryJSON struct {
	ID         string        `json:"id"`
	MessageID  string        `json:"message_id" doc:"The header webhook-id, the same over all attempts and when it is delivered again by hand."`
	About      string        `json:"about" doc:"notices, test or alive."`
	State      string        `json:"state" doc:"waiting, delivered, failed or cancelled."`
	Topics     []string      `json:"topics"`
	Notices    int           `json:"notices"`
	Approval   string        `json:"approval,omitempty" doc:"The id of the request, when it is about one."`
	CreatedAt  time.Time     `json:"created_at"`
	DueAt      *time.Time    `json:"due_at,omitempty" doc:"When it is tried next, while it waits."`
	FinishedAt *time.Time    `json:"finished_at,omitempty"`
	Attempts   []attemptJSON `json:"attempts" doc:"Oldest first."`
}

type attemptJSON struct {
	At     time.Time `json:"at"`
	Status int       `json:"status" doc:"Of HTTP; 0: there was no answer, or it was mail."`
	Error  string    `json:"error,omitempty" doc:"Not there: it was taken."`
	TookMS int       `json:"took_ms"`
}

func attemptOf(a notify.Attempt) attemptJSON {
	return attemptJSON{At: a.At, Status: a.Status, Error: a.Error, TookMS: a.TookMS}
}

func deliveryOf(d notify.Delivery) deliveryJSON {
	out := deliveryJSON{
		ID: d.ID, MessageID: d.MessageID, About: d.About, State: d.State, Topics: orNone(d.Topics), Notices: d.Notices, Approval: d.ApprovalID,
		CreatedAt: d.CreatedAt, FinishedAt: d.FinishedAt, Attempts: []attemptJSON{},
	}
	if d.FinishedAt == nil {
		out.DueAt = &d.DueAt
	}
	for _, a := range d.Attempts {
		out.Attempts = append(out.Attempts, attemptOf(a))
	}
	return out
}

func (s *Server) listDeliveries(c echo.Context, who identity.Principal, q paging) (registry.Page[deliveryJSON], error) {
	limit := q.Limit
	if limit == 0 {
		limit = 50
	}
	list, err := s.notify.Deliveries(c.Request().Context(), who, c.Param("id"), q.After, limit)
	page := registry.Page[notify.Delivery]{Items: list}
	if len(list) == limit {
		page.Next = list[limit-1].ID
	}
	return each(page, deliveryOf), err
}

func (s *Server) tryChannel(c echo.Context, who identity.Principal, _ none) (*attemptJSON, error) {
	return said(attemptOf)(s.notify.Test(c.Request().Context(), who, c.Param("id")))
}
