package notify

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// What a delivery is about.
const (
	aboutNotices = "notices"
	aboutTest    = "test"
	aboutAlive   = "alive"
)

// told is a notice as a message tells it.
type told struct {
	ID         int64
	At         time.Time
	Topic      string
	ApprovalID string
	Urgent     bool
	Data       map[string]any
	ExpiresAt  *time.Time // of the request
	Total      int        // of the notices of the delivery
}

// message is what a channel is told, before it is put in the form of its kind. It depends on the delivery and on what
// was written when it happened alone, so each attempt says the same.
type message struct {
	id      string
	kind    string // of the payload: a topic, notices.digest, channel.test or notifier.alive
	at      time.Time
	channel string
	notices []told // at most maxTold
	total   int
	origin  string // of the console
}

// maxTold is how many notices a message spells out; of the others it says how many there are.
const maxTold = 100

func (n *Notifier) compose(ctx context.Context, d delivery) (message, error) {
	m := message{id: d.MessageID, at: d.CreatedAt, channel: d.ChannelName, origin: n.cfg.PublicURL}
	switch d.About {
	case aboutTest:
		m.kind = typeTest
		return m, nil
	case aboutAlive:
		m.kind = TopicAlive
		return m, nil
	}
	rows, _ := n.pool.Query(ctx, `
		select n.id, n.at, n.topic, coalesce(n.approval_id, '') as approval_id, n.urgent, n.data, a.expires_at, count(*) over ()::int as total
		from notices n left join approvals a on a.id = n.approval_id
		where n.id = any (@ids) order by n.id limit @most`,
		pgx.StrictNamedArgs{"ids": d.NoticeIDs, "most": maxTold})
	var err error
	if m.notices, err = pgx.CollectRows(rows, pgx.RowToStructByName[told]); err != nil {
		return message{}, fmt.Errorf("reading the notices of %s: %w", d.ID, err)
	}
	if len(m.notices) == 0 {
		return message{}, fmt.Errorf("the notices of %s are gone", d.ID)
	}
	m.kind, m.total = typeDigest, m.notices[0].Total
	if m.total == 1 {
		m.kind, m.at = m.notices[0].Topic, m.notices[0].At
	}
	return m, nil
}

// link is where a person opens what a notice is about. It carries an id alone, and asks for a sign-in.
func (m message) link(t told) string {
	if strings.HasPrefix(t.Topic, "alert.") {
		return m.origin + "/alerts"
	}
	if t.ApprovalID == "" {
		return m.origin + "/"
	}
	return m.origin + "/approvals/" + t.ApprovalID
}

// home is where a person opens what the whole message is about.
func (m message) home() string {
	switch {
	case len(m.notices) == 1:
		return m.link(m.notices[0])
	case len(m.notices) > 1:
		return m.origin + "/approvals"
	}
	return m.origin + "/channels"
}

// title is one line for a subject or a notification.
func (m message) title() string {
	switch {
	case m.kind == typeTest:
		return "Test of the channel " + inert(m.channel)
	case m.kind == TopicAlive:
		return "Countersign is alive"
	case len(m.notices) == 1:
		return m.notices[0].title()
	}
	counts := map[string]int{}
	for _, t := range m.notices {
		counts[t.Topic]++
	}
	var parts []string
	for _, topic := range topics {
		if counts[topic.Name] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[topic.Name], strings.ToLower(topic.Label)))
		}
	}
	if m.total > len(m.notices) {
		parts = append(parts, fmt.Sprintf("%d more", m.total-len(m.notices)))
	}
	return strings.Join(parts, ", ")
}

func (t told) title() string {
	topic, _ := topicNamed(t.Topic)
	tool, server := t.fact("tool"), t.fact("server")
	switch {
	case t.fact("rule") != "":
		return fmt.Sprintf("%s: %s", topic.Label, t.fact("rule"))
	case tool != "" && server != "":
		return fmt.Sprintf("%s: %s on %s", topic.Label, tool, server)
	case server != "":
		return fmt.Sprintf("%s: %s", topic.Label, server)
	}
	return topic.Label
}

// factLines are the facts that people are told, in their order.
var factLines = []struct{ name, label string }{
	{"summary", "What"},
	{"about", "About"},
	{"server", "Server"},
	{"tool", "Tool"},
	{"risk", "Risk"},
	{"agent", "Agent"},
	{"caller_name", "For"},
	{"state", "State"},
}

// fact is one text of a notice, fit for people to read.
func (t told) fact(name string) string {
	if s, ok := t.Data[name].(string); ok {
		return inert(cut(s, 120))
	}
	return ""
}

// lines are the facts of a notice, one on each line.
func (t told) lines() []string {
	var lines []string
	for _, f := range factLines {
		if value := t.fact(f.name); value != "" {
			lines = append(lines, f.label+": "+value)
		}
	}
	if t.asks() && t.ExpiresAt != nil {
		lines = append(lines, "Decide before: "+clock(*t.ExpiresAt))
	}
	return append(lines, "At: "+clock(t.At))
}

// brief is a notice on one line of a digest.
func (t told) brief() string {
	line := t.title()
	if risk := t.fact("risk"); risk != "" {
		line += " (" + risk + ")"
	}
	if t.asks() && t.ExpiresAt != nil {
		return line + ", decide before " + clock(*t.ExpiresAt)
	}
	return line + ", " + clock(t.At)
}

// asks says whether the notice wants a decision.
func (t told) asks() bool { return t.Topic == topicRequested || t.Topic == topicEscalated }

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// plainLines are what a message without notices says.
func (m message) plainLines() []string {
	if m.kind == TopicAlive {
		return []string{"The notifier lives. When this message does not come any more, look at /channels and at the control plane's log."}
	}
	return []string{"Somebody tested this channel from the console. It works; there is nothing to do."}
}
