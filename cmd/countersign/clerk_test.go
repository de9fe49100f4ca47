package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"countersign/internal/devidp/devidptest"
)

// clerk is a person whose browser knows pages, links, forms and cookies and nothing else. It is for tests that are not
// about what a page looks like, and it can be told that the console is gone.
type clerk struct {
	browser *http.Client
	console string
	at      *url.URL
	page    *html.Node
	filled  map[*html.Node]string
}

// newClerk signs a demo person in.
func newClerk(t *testing.T, console, person string) *clerk {
	t.Helper()
	c := &clerk{browser: devidptest.Browser(t), console: console}
	c.browser.CheckRedirect = nil
	err := c.open(t.Context(), "/auth/login")
	if err == nil {
		err = c.press(t.Context(), func(n *html.Node) bool { return attribute(n, "value") == person })
	}
	if err != nil {
		t.Fatalf("signing %s in: %v", person, err)
	}
	return c
}

func (c *clerk) open(ctx context.Context, path string) error {
	return c.visit(ctx, http.MethodGet, c.console+path, nil)
}

func (c *clerk) visit(ctx context.Context, method, target string, form url.Values) error {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
	}
	res, err := c.browser.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if c.page, err = html.Parse(res.Body); err != nil {
		return err
	}
	c.at, c.filled = res.Request.URL, map[*html.Node]string{}
	if res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %s", method, target, res.Status, c.text())
	}
	return nil
}

// text is all that the page says.
func (c *clerk) text() string {
	var b strings.Builder
	for n := range c.page.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (c *clerk) find(matches func(*html.Node) bool) *html.Node {
	for n := range c.page.Descendants() {
		if n.Type == html.ElementNode && matches(n) {
			return n
		}
	}
	return nil
}

func byID(id string) func(*html.Node) bool {
	return func(n *html.Node) bool { return attribute(n, "id") == id }
}

// fill writes into the field with that id.
func (c *clerk) fill(id, value string) {
	if n := c.find(byID(id)); n != nil {
		c.filled[n] = value
	}
}

var errNoButton = errors.New("there is no such button")

// press sends the form that a button belongs to.
func (c *clerk) press(ctx context.Context, matches func(*html.Node) bool) error {
	button := c.find(func(n *html.Node) bool { return n.Data == "button" && matches(n) })
	if button == nil {
		return fmt.Errorf("%s: %w: %s", c.at, errNoButton, c.text())
	}
	form := button.Parent
	for form != nil && form.Data != "form" {
		form = form.Parent
	}
	if id := attribute(button, "form"); id != "" {
		form = c.find(byID(id))
	}
	if form == nil {
		return fmt.Errorf("%s: %w in a form", c.at, errNoButton)
	}
	values := c.valuesOf(form)
	if name := attribute(button, "name"); name != "" {
		values.Add(name, attribute(button, "value"))
	}
	action := attribute(form, "action")
	if other := attribute(button, "formaction"); other != "" {
		action = other
	}
	target, err := c.at.Parse(action)
	if err != nil {
		return err
	}
	return c.visit(ctx, http.MethodPost, target.String(), values)
}

// valuesOf are those that a browser would send.
func (c *clerk) valuesOf(form *html.Node) url.Values {
	values := url.Values{}
	for n := range c.page.Descendants() {
		name := attribute(n, "name")
		if n.Type != html.ElementNode || name == "" || has(n, "disabled") || !belongs(n, form) {
			continue
		}
		value, filled := c.filled[n]
		switch n.Data {
		case "input":
			kind := attribute(n, "type")
			if (kind == "checkbox" || kind == "radio") && !has(n, "checked") || kind == "submit" || kind == "file" {
				continue
			}
			if !filled {
				value = attribute(n, "value")
			}
			values.Add(name, value)
		case "textarea":
			if !filled {
				value = textOf(n)
			}
			values.Add(name, value)
		case "select":
			values.Add(name, chosen(n))
		}
	}
	return values
}

func belongs(n, form *html.Node) bool {
	if id := attribute(n, "form"); id != "" {
		return id == attribute(form, "id")
	}
	for ; n != nil; n = n.Parent {
		if n == form {
			return true
		}
	}
	return false
}

func chosen(list *html.Node) (value string) {
	first := true
	for n := range list.Descendants() {
		if n.Data == "option" && (first || has(n, "selected")) {
			value, first = attribute(n, "value"), false
		}
	}
	return value
}

func textOf(n *html.Node) (text string) {
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			text += d.Data
		}
	}
	return text
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
