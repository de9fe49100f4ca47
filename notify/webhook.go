package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"countersign/internal/egress"
)

// payload is the body of a webhook, as Standard Webhooks has it.
type payload struct {
	Type      string         `json:"type"`
	Timestamp time.Time      `json:"timestamp"`
	Data      map[string]any `json:"data"`
}

// payload of a message: facts and ids, and never an argument of a call.
func (m message) payload() payload {
	p := payload{Type: m.kind, Timestamp: m.at, Data: map[string]any{"url": m.home()}}
	switch {
	case m.kind == typeDigest:
		list := []payload{}
		for _, t := range m.notices {
			list = append(list, payload{Type: t.Topic, Timestamp: t.At, Data: m.data(t)})
		}
		p.Data["notices"], p.Data["count"] = list, m.total
	case len(m.notices) == 1:
		p.Data = m.data(m.notices[0])
	case m.kind == typeTest:
		p.Data["channel"] = m.channel
	}
	return p
}

func (m message) data(t told) map[string]any {
	data := maps.Clone(t.Data)
	if data == nil {
		data = map[string]any{}
	}
	data["url"], data["urgent"] = m.link(t), t.Urgent
	if t.ApprovalID != "" {
		data["approval_id"] = t.ApprovalID
	}
	if t.ExpiresAt != nil {
		data["expires_at"] = t.ExpiresAt.UTC()
	}
	return data
}

// sendWebhook delivers per Standard Webhooks: the id of the message stays the same over all attempts, the timestamp is
// of this one, and each secret that is good signs both and the body.
func (n *Notifier) sendWebhook(ctx context.Context, t target, secrets []secret, d delivery, m message) result {
	body, err := json.Marshal(m.payload())
	if err != nil {
		return result{err: fmt.Errorf("encoding %s: %w", d.ID, err)}
	}
	signature, err := sign(secrets, m.id, d.Now, body)
	if err != nil {
		return result{err: err}
	}
	return n.post(ctx, t.URL, body, http.Header{
		"Webhook-Id": {m.id}, "Webhook-Timestamp": {strconv.FormatInt(d.Now.Unix(), 10)}, "Webhook-Signature": {signature},
	})
}

// post sends JSON once. Of the answer only its status and Retry-After count.
func (n *Notifier) post(ctx context.Context, address string, body []byte, header http.Header) result {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return result{err: fmt.Errorf("reading the channel's address: %w", err)}
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Countersign")
	resp, err := n.client.Do(req) //nolint:bodyclose // Drain closes it
	if err != nil {
		return result{err: err}
	}
	egress.Drain(resp.Body)
	res := result{status: resp.StatusCode, gone: resp.StatusCode == http.StatusGone}
	if !accepted(res.status) {
		res.err = answerError(res.status)
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // 0 for a date: ours will do
		res.after = time.Duration(min(max(seconds, 0), 86400)) * time.Second
	}
	return res
}
