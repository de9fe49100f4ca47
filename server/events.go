package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
)

// heartbeat keeps proxies from closing a stream on which nothing happens.
const heartbeat = 20 * time.Second

// events is the one stream of a page (server-sent events). It says that a region has changed, never what: the page then
// fetches the region as anybody would, with the same checks. topic: "approvals", "discovery-<id>", "gateways-<id>", which is
// how far a change of a server's state has come, or "rollout-<generation>", which is that of any change of the policy.
func (s *Server) events(c echo.Context, who identity.Principal) error {
	watched, err := s.watch(c.QueryParam("topic"))
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	wake, stop := s.hub.Subscribe(watched.hubTopic)
	defer stop()
	last, err := watched.mark(ctx, who)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	c.Response().WriteHeader(http.StatusOK)
	if err := send(c, "retry: 2000\n\n"+watched.changed(last)); err != nil { // what changed since the page was made, too
		return nil // the reader has gone
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		text := ": still here\n\n"
		select {
		case <-ctx.Done():
			return nil
		case <-s.draining:
			return nil
		case <-beat.C:
		case <-wake:
			text = ""
		}
		if _, err := s.auth.Session(ctx, s.sessionValue(c)); problem.Is(err, problem.Unauthenticated) {
			return nil // the stream ends, the page asks again and is sent to sign in
		}
		if now, err := watched.mark(ctx, who); err == nil && now != last { // after an error: look again at the next tick
			last, text = now, text+watched.changed(now)
		}
		if text == "" {
			continue
		}
		if err := send(c, text); err != nil {
			return nil // the reader has gone
		}
	}
}

func send(c echo.Context, text string) error {
	if _, err := c.Response().Write([]byte(text)); err != nil {
		return err
	}
	return http.NewResponseController(c.Response()).Flush()
}

// watched is something a page shows live. mark differs whenever what is shown may differ.
type watched struct {
	hubTopic string
	event    string
	mark     func(ctx context.Context, who identity.Principal) (string, error)
}

func (w watched) changed(mark string) string {
	return fmt.Sprintf("event: %s\ndata: %s\n\n", w.event, mark)
}

func (s *Server) watch(topic string) (watched, error) {
	if topic == "approvals" {
		return watched{hubTopic: "approvals", event: topic, mark: func(ctx context.Context, _ identity.Principal) (string, error) {
			return s.approvals.Mark(ctx)
		}}, nil
	}
	if id, ok := strings.CutPrefix(topic, "discovery-"); ok {
		return watched{hubTopic: registry.TopicDiscoveries, event: topic, mark: func(ctx context.Context, who identity.Principal) (string, error) {
			d, err := s.registry.Discovery(ctx, who, id)
			if err != nil {
				return "", err
			}
			done := 0
			for _, step := range d.Steps {
				done += len(step.State) + len(step.Detail)
			}
			return fmt.Sprintf("%s-%d-%d-%d", d.State, d.Attempts, len(d.Steps), done), nil
		}}, nil
	}
	if id, ok := strings.CutPrefix(topic, "gateways-"); ok {
		return watched{hubTopic: delivery.TopicGateways, event: topic, mark: func(ctx context.Context, who identity.Principal) (string, error) {
			effects, err := s.delivery.Effects(ctx, who, id)
			if err != nil {
				return "", err
			}
			return markOf(effects), nil
		}}, nil
	}
	if text, ok := strings.CutPrefix(topic, "rollout-"); ok {
		generation, err := readGeneration(text)
		if err != nil {
			return watched{}, err
		}
		return watched{hubTopic: delivery.TopicGateways, event: topic, mark: func(ctx context.Context, who identity.Principal) (string, error) {
			effects, err := s.delivery.Reach(ctx, who, generation)
			return markOf(effects), err
		}}, nil
	}
	return watched{}, problem.New(problem.NotFound, "no_such_topic", "There is no such stream.")
}
