package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/notify"
	"countersign/web"
)

func (s *Server) channelRoutes() []route {
	read, change := person(identity.ReadChannels), person(identity.ChangeChannel)
	return []route{
		{get, "/channels", read, s.channelsPage},
		{get, "/channels/new", change, s.newChannelPage},
		{post, "/channels", change, s.createChannel},
		{get, "/channels/:id", read, s.channelPage},
		{get, "/channels/:id/edit", change, s.editChannelPage},
		{post, "/channels/:id", change, s.changeChannel},
		{post, "/channels/:id/test", person(identity.TestChannel), s.testChannel},
		{post, "/channels/:id/rotate", change, s.rotateChannel},
		{post, "/channels/:id/pause", change, s.pauseChannel},
		{post, "/channels/:id/resume", change, s.resumeChannel},
		{post, "/channels/:id/end", change, s.endChannel},
		{post, "/channels/:id/deliveries/:delivery/again", change, s.deliverAgain},
	}
}

func (s *Server) channelsPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	channels, err := s.notify.Channels(ctx, who)
	if err != nil {
		return err
	}
	health, err := s.notify.Health(ctx)
	if err != nil {
		return err
	}
	view := web.Channels{
		May:    who.Can(identity.ChangeChannel, "") == nil,
		Health: web.NotifierHealth{BeatAt: health.BeatAt, Stalled: health.Stalled, Waiting: health.Waiting},
	}
	for _, channel := range channels {
		view.Channels = append(view.Channels, channelLine(channel))
	}
	return render(c, http.StatusOK, web.ChannelsPage(s.page(c, who, "Notifications", "/channels"), view))
}

var channelKinds = map[notify.Kind]string{notify.Webhook: "Webhook", notify.Slack: "Chat", notify.Email: "Mail"}

func channelLine(c notify.Channel) web.ChannelLine {
	line := web.ChannelLine{
		ID: c.ID, Name: c.Name, Kind: channelKinds[c.Kind], Where: c.Shown, Team: c.TeamName, State: string(c.State()), LastError: c.LastError,
		Digest: digestWords(c.DigestSeconds), DeliveredAt: c.DeliveredAt, Waiting: c.Waiting,
	}
	for _, t := range notify.Topics() {
		if slices.Contains(c.Topics, t.Name) {
			line.Topics = append(line.Topics, t.Label)
		}
	}
	return line
}

// tellingTasks say that people are not told what they should be. Where that cannot be read nothing is said: it is no
// reason to fail.
func (s *Server) tellingTasks(ctx context.Context, who identity.Principal) []web.Task {
	if who.Can(identity.ReadChannels, "") != nil {
		return nil
	}
	health, err := s.notify.Health(ctx)
	var tasks []web.Task
	if err == nil && health.Stalled && health.Channels > 0 {
		tasks = append(tasks, web.Task{
			Icon: "octagon-alert", Tone: "destr", Title: "Nobody is told anything", Text: "No notifier has looked for a minute. Look at the control plane's log.",
			Link: "/channels", Act: "Open notifications",
		})
	}
	if len(health.Failing) > 0 {
		tasks = append(tasks, web.Task{
			Icon: "triangle-alert", Tone: "write", Title: "Notifications do not arrive", Text: "Failing: " + strings.Join(health.Failing, ", "),
			Link: "/channels", Act: "Open notifications",
		})
	}
	return tasks
}

// digests are the periods that the form offers.
var digests = []int{0, 60, 300, 900, 3600, 14400, 86400}

func digestWords(seconds int) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case seconds == 0:
		return "At once"
	case d%time.Hour == 0:
		return "Digest, " + strings.ToLower(count(int(d/time.Hour), "hour", "hours"))
	case d%time.Minute == 0:
		return "Digest, " + strings.ToLower(count(int(d/time.Minute), "minute", "minutes"))
	}
	return fmt.Sprintf("Digest, %d seconds", seconds)
}

func (s *Server) newChannelPage(c echo.Context, who identity.Principal) error {
	suggested := notify.Setup{Kind: notify.Webhook, Topics: []string{"approval.requested", "approval.escalated", "review.overdue"}}
	if topic := c.QueryParam("topic"); topic != "" {
		suggested.Topics = []string{topic} // of whoever found that nobody is told of it
	}
	return s.showChannelForm(c, who, http.StatusOK, web.ChannelForm{}, suggested, nil)
}

// setupOf is a channel as the form says.
func setupOf(c echo.Context) notify.Setup {
	seconds, err := strconv.Atoi(cmp.Or(c.FormValue("digest"), "0"))
	if err != nil {
		seconds = -1 // which is refused
	}
	return notify.Setup{
		Name: c.FormValue("name"), Kind: notify.Kind(c.FormValue("kind")), TeamID: c.FormValue("team"), Topics: c.Request().PostForm["topics"],
		Address: c.FormValue("address"), DigestSeconds: seconds,
	}
}

// showChannelForm shows the form with what setup says; view has the id and the version of a channel that is changed.
func (s *Server) showChannelForm(c echo.Context, who identity.Principal, status int, view web.ChannelForm, setup notify.Setup, errs web.Errors) error {
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view.Errors, view.Kind, view.Address = errs, string(setup.Kind), setup.Address
	if view.Version == 0 || errs != nil {
		view.Name = setup.Name
	}
	view.Teams = append([]web.Option{{Label: "Every team"}}, teamOptions(teams, setup.TeamID)...)
	for _, k := range []web.RoleOption{
		{Option: web.Option{Value: string(notify.Webhook), Label: "Webhook"}, Means: "A program gets signed JSON. Its secret is shown once."},
		{Option: web.Option{Value: string(notify.Slack), Label: "Chat"}, Means: "An incoming webhook of Slack, or of a chat that understands those."},
		{Option: web.Option{Value: string(notify.Email), Label: "Mail"}, Means: "Plain text to at most ten addresses."},
	} {
		k.Selected = k.Value == string(setup.Kind)
		view.Kinds = append(view.Kinds, k)
	}
	for _, t := range notify.Topics() {
		chosen := slices.Contains(setup.Topics, t.Name)
		view.Topics = append(view.Topics, web.RoleOption{Option: web.Option{Value: t.Name, Label: t.Label, Selected: chosen}, Means: t.Means})
	}
	periods := digests
	if !slices.Contains(periods, setup.DigestSeconds) && setup.DigestSeconds > 0 {
		periods = append(slices.Clone(periods), setup.DigestSeconds)
	}
	for _, seconds := range periods {
		view.Digests = append(view.Digests, web.Option{Value: strconv.Itoa(seconds), Label: digestWords(seconds), Selected: seconds == setup.DigestSeconds})
	}
	title := "New channel"
	if view.Version > 0 {
		title = "Change the channel"
	}
	return render(c, status, web.ChannelFormPage(s.page(c, who, title, "/channels"), view))
}

// createChannel answers with the secret of a webhook itself rather than a redirect: it exists in this answer only.
func (s *Server) createChannel(c echo.Context, who identity.Principal) error {
	setup := setupOf(c)
	id, secret, err := s.notify.Create(c.Request().Context(), who, setup)
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		return s.showChannelForm(c, who, status, web.ChannelForm{}, setup, errs)
	}
	if secret == "" {
		return s.done(c, "/channels/"+id, "Made. Send a test to see whether it arrives.")
	}
	view := web.IssuedSecret{ID: id, Name: setup.Name, Secret: secret}
	return render(c, http.StatusCreated, web.ChannelSecretPage(s.page(c, who, "New channel", "/channels"), view))
}

func (s *Server) editChannelPage(c echo.Context, who identity.Principal) error {
	channel, err := s.notify.Channel(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return err
	}
	if channel.EndedAt != nil {
		return c.Redirect(http.StatusSeeOther, "/channels/"+channel.ID)
	}
	return s.showChannelForm(c, who, http.StatusOK, changedForm(channel), setupOfChannel(channel), nil)
}

func changedForm(c notify.Channel) web.ChannelForm {
	return web.ChannelForm{ID: c.ID, Name: c.Name, Shown: c.Shown, Version: c.Version}
}

func setupOfChannel(c notify.Channel) notify.Setup {
	return notify.Setup{Name: c.Name, Kind: c.Kind, TeamID: c.TeamID, Topics: c.Topics, DigestSeconds: c.DigestSeconds}
}

func (s *Server) changeChannel(c echo.Context, who identity.Principal) error {
	ctx, id, setup := c.Request().Context(), c.Param("id"), setupOf(c)
	err := s.notify.Change(ctx, who, id, version(c), setup)
	if err == nil {
		return s.done(c, "/channels/"+id, "Saved.")
	}
	errs, status, ok := formErrors(err, nil)
	channel, readErr := s.notify.Channel(ctx, who, id)
	if !ok || readErr != nil {
		return err
	}
	view := changedForm(channel)
	view.Version = max(version(c), 1) // what was refused because of another change is refused again
	return s.showChannelForm(c, who, status, view, setup, errs)
}
