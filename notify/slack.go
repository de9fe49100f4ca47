package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// chat is the body of an incoming webhook of Slack, and of those that understand it. Names are in plain_text alone; the
// one text with markup is ours. text is what shows where blocks do not.
type chat struct {
	Text        string  `json:"text"`
	Blocks      []block `json:"blocks"`
	Markdown    bool    `json:"mrkdwn"`
	Parse       string  `json:"parse"`
	LinkNames   bool    `json:"link_names"`
	UnfurlLinks bool    `json:"unfurl_links"`
	UnfurlMedia bool    `json:"unfurl_media"`
}

type block struct {
	Type string    `json:"type"`
	Text *chatText `json:"text,omitempty"`
}

type chatText struct {
	Type  string `json:"type"`
	Text  string `json:"text"`
	Emoji *bool  `json:"emoji,omitempty"` // of plain_text alone
}

const (
	chatTold  = 20   // notices of a digest that a chat spells out
	chatTitle = 150  // characters of a header
	chatLong  = 2900 // of a section
)

func plainBlock(kind, text string, most int) block {
	no := false
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most-1]) + "…"
	}
	return block{Type: kind, Text: &chatText{Type: "plain_text", Text: escaped(text), Emoji: &no}}
}

// escaped is s without what Slack reads as its own, and without what others read as Markdown.
func escaped(s string) string { return chatEscapes.Replace(s) }

var chatEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// inMarkdown is a text that other chats show as Markdown: what could make a link, an image or a mention of it is another
// character of the same look.
var inMarkdown = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "[", "［", "]", "］", "`", "ˋ", "*", "∗", "~", "∼", "!", "！", "|", "｜", "#", "＃")

func (m message) chat() chat {
	title, link := m.title(), m.home()
	c := chat{Text: inMarkdown.Replace(title) + "\n" + link, Parse: "none"}
	c.Blocks = append(c.Blocks, plainBlock("header", title, chatTitle))
	var lines []string
	switch {
	case len(m.notices) == 0:
		lines = m.plainLines()
	case len(m.notices) == 1:
		lines = m.notices[0].lines()
	default:
		for _, t := range m.notices[:min(len(m.notices), chatTold)] {
			lines = append(lines, t.brief())
		}
		if m.total > chatTold {
			lines = append(lines, fmt.Sprintf("and %d more", m.total-chatTold))
		}
	}
	c.Blocks = append(c.Blocks,
		plainBlock("section", strings.Join(lines, "\n"), chatLong),
		block{Type: "section", Text: &chatText{Type: "mrkdwn", Text: "<" + link + "|Open in Countersign>"}})
	return c
}

func (n *Notifier) sendSlack(ctx context.Context, t target, m message) result {
	body, err := json.Marshal(m.chat())
	if err != nil {
		return result{err: fmt.Errorf("encoding a chat message: %w", err)}
	}
	return n.post(ctx, t.URL, body, nil)
}
