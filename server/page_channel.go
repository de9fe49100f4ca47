package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/notify"
	"countersign/web"
)

// deliveriesShown is how many deliveries the page of a channel shows.
const deliveriesShown = 30

func (s *Server) channelPage(c echo.Context, who identity.Principal) error {
	return s.showChannel(c, who, http.StatusOK, nil, nil)
}

// showChannel shows a channel, with what came of a test or what was refused.
func (s *Server) showChannel(c echo.Context, who identity.Principal, status int, tested *web.ChannelTest, errs web.Errors) error {
	ctx := c.Request().Context()
	channel, err := s.notify.Channel(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	list, err := s.notify.Deliveries(ctx, who, channel.ID, c.QueryParam("after"), deliveriesShown+1)
	if err != nil {
		return err
	}
	view := web.Channel{
		ChannelLine: channelLine(channel), Version: channel.Version, By: channel.CreatedByName, CreatedAt: channel.CreatedAt,
		PausedAt: channel.PausedAt, PausedBecause: channel.PausedBecause, FailingSince: channel.FailingSince, OverlapUntil: channel.OverlapUntil,
		EndedAt: channel.EndedAt, May: who.Can(identity.ChangeChannel, "") == nil, Signed: channel.Kind == notify.Webhook, Tested: tested, Errors: errs,
	}
	if len(list) > deliveriesShown {
		list = list[:deliveriesShown]
		view.Next = "/channels/" + channel.ID + "?after=" + url.QueryEscape(list[deliveriesShown-1].ID)
	}
	for _, d := range list {
		line := deliveryLine(d)
		line.Again = line.Again && channel.PausedAt == nil && channel.EndedAt == nil
		view.Deliveries = append(view.Deliveries, line)
	}
	return render(c, status, web.ChannelPage(s.page(c, who, channel.Name, "/channels"), view))
}

func deliveryLine(d notify.Delivery) web.DeliveryLine {
	line := web.DeliveryLine{ID: d.ID, MessageID: d.MessageID, About: deliveryWords(d), State: d.State, CreatedAt: d.CreatedAt}
	line.Again = d.About == "notices" && d.Notices > 0 && !d.Collecting
	if d.State == "waiting" {
		line.DueAt = &d.DueAt
	}
	if d.Collecting {
		line.State = "collecting"
	}
	if d.ApprovalID != "" {
		line.Link = "/approvals/" + d.ApprovalID
	}
	for _, a := range d.Attempts {
		line.Attempts = append(line.Attempts, web.AttemptLine{At: a.At, Answered: a.Status, Error: a.Error, TookMS: a.TookMS})
	}
	return line
}

func deliveryWords(d notify.Delivery) string {
	switch {
	case d.About == "test":
		return "Test"
	case d.About == "alive":
		return "Heartbeat"
	case d.Notices != 1:
		return fmt.Sprintf("Digest of %d", d.Notices)
	case len(d.Topics) == 1:
		for _, t := range notify.Topics() {
			if t.Name == d.Topics[0] {
				return t.Label
			}
		}
		return d.Topics[0]
	}
	return "What is forgotten"
}

// testChannel shows at once what came of it.
func (s *Server) testChannel(c echo.Context, who identity.Principal) error {
	attempt, err := s.notify.Test(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return s.channelAgain(c, who, err)
	}
	tested := &web.ChannelTest{OK: attempt.Error == "", Words: "The test was delivered.", Answered: attempt.Status, TookMS: attempt.TookMS}
	if !tested.OK {
		tested.Words = "The test was not delivered. " + attempt.Error
	}
	return s.showChannel(c, who, http.StatusOK, tested, nil)
}

// channelAgain shows the channel with what was refused about it.
func (s *Server) channelAgain(c echo.Context, who identity.Principal, err error) error {
	errs, status, ok := formErrors(err, nil)
	if !ok || problem.Is(err, problem.Forbidden) {
		return err
	}
	return s.showChannel(c, who, status, nil, errs)
}

func (s *Server) rotateChannel(c echo.Context, who identity.Principal) error {
	ctx, id := c.Request().Context(), c.Param("id")
	secret, err := s.notify.RotateSecret(ctx, who, id, version(c))
	if err != nil {
		return s.channelAgain(c, who, err)
	}
	channel, err := s.notify.Channel(ctx, who, id)
	if err != nil {
		return err
	}
	view := web.IssuedSecret{ID: id, Name: channel.Name, Secret: secret, Rotated: true}
	return render(c, http.StatusOK, web.ChannelSecretPage(s.page(c, who, "Another secret", "/channels"), view))
}

func (s *Server) pauseChannel(c echo.Context, who identity.Principal) error {
	return s.moveChannel(c, who, s.notify.Pause, "Paused. What waited is cancelled.")
}

func (s *Server) resumeChannel(c echo.Context, who identity.Principal) error {
	return s.moveChannel(c, who, s.notify.Resume, "It is told again from now on.")
}

func (s *Server) endChannel(c echo.Context, who identity.Principal) error {
	return s.moveChannel(c, who, s.notify.End, "Ended for good.")
}

func (s *Server) moveChannel(c echo.Context, who identity.Principal, move func(context.Context, identity.Principal, string, int64) error, words string) error {
	if err := move(c.Request().Context(), who, c.Param("id"), version(c)); err != nil {
		return s.channelAgain(c, who, err)
	}
	return s.done(c, "/channels/"+c.Param("id"), words)
}

func (s *Server) deliverAgain(c echo.Context, who identity.Principal) error {
	if err := s.notify.Redeliver(c.Request().Context(), who, c.Param("id"), c.Param("delivery")); err != nil {
		return s.channelAgain(c, who, err)
	}
	return s.done(c, "/channels/"+c.Param("id"), "It is delivered again, with the same id.")
}
