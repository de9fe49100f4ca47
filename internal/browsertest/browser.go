// Package browsertest drives a real Chromium in tests: go somewhere, fill a form, press a button, read what a
// person would read, and let axe-core look for what a person with a screen reader could not.
//
// A missing Chromium fails the test. COUNTERSIGN_CHROMIUM names one that is not on PATH.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser is one browser with its own cookies, as one person at one desk.
type Browser struct {
	t   testing.TB
	ctx context.Context //nolint:containedctx // it is the browser: chromedp keeps its state there
}

// Open starts a browser that ends with the test.
func Open(t testing.TB) *Browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-gpu", true))
	if path := os.Getenv("COUNTERSIGN_CHROMIUM"); path != "" {
		options = append(options, chromedp.ExecPath(path))
	}
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses its sandbox to root
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(func() { stop(); stopAllocator() })
	// The context of the first action owns the browser, so it must not be one with a deadline.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900)); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	b := &Browser{t: t, ctx: ctx}
	b.Screen(1280, "light")
	return b
}

// patience is how long a page may take before the test gives up; it bounds a hang, it measures nothing.
const patience = 30 * time.Second

func (b *Browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("browser: %v\n%s", err, b.glimpse())
	}
}

func get[T any](b *Browser, a chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		b.t.Fatalf("browser: %v\n%s", err, b.glimpse())
	}
	return v
}

// glimpse is what the page says, for the message of a failure.
func (b *Browser) glimpse() string {
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
	defer cancel()
	where, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
	state, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.readyState`))
	return fmt.Sprintf("at %s (%s)\n%.1500s", where, state, text)
}

// Go opens an address.
func (b *Browser) Go(url string) { b.t.Helper(); b.do(chromedp.Navigate(url)) }

// Click presses what the CSS selector finds.
func (b *Browser) Click(selector string) {
	b.t.Helper()
	b.do(chromedp.ScrollIntoView(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// Press clicks and waits for the page that comes of it.
func (b *Browser) Press(selector string) {
	b.t.Helper()
	get(b, chromedp.Evaluate[bool](`window.__left = true`))
	b.Click(selector)
	b.Until(`!window.__left && document.readyState === "complete"`)
}

// Fill sets the value of a field that is visible, as typing over it would.
func (b *Browser) Fill(selector, value string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS(selector)))
	Eval[bool](b, fmt.Sprintf(`(() => { const f = document.querySelector(%q); f.value = %q; f.dispatchEvent(new Event("input", {bubbles: true})); return true })()`, selector, value))
}

// Until waits for a JavaScript expression to be true.
func (b *Browser) Until(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		cancel()
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("browser: never true: %s (%v)\n%s", expression, err, b.glimpse())
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// See waits until the page shows the text.
func (b *Browser) See(text string) {
	b.t.Helper()
	b.Until(fmt.Sprintf("document.body && document.body.innerText.includes(%q)", text))
}

// Eval gives the value of a JavaScript expression.
func Eval[T any](b *Browser, expression string) T {
	b.t.Helper()
	return get(b, chromedp.Evaluate[T](expression))
}

// Text is what the page shows.
func (b *Browser) Text() string {
	b.t.Helper()
	return Eval[string](b, "document.body.innerText")
}

// Location is the address of the page.
func (b *Browser) Location() string { b.t.Helper(); return get(b, chromedp.Location()) }

// Screen sets width and color scheme ("light" or "dark"). Motion is always reduced: a page in transition takes no
// clicks.
func (b *Browser) Screen(width int, scheme string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(int64(width), 900))
	get(b, func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		return chromedp.Void{}, err
	})
}

// Screenshot writes the whole page as a PNG to the folder named by BROWSER_SHOTS; without it, nowhere.
func (b *Browser) Screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("BROWSER_SHOTS")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), get(b, chromedp.FullScreenshot(100)), 0o600); err != nil { //nolint:gosec // the developer names the folder
		b.t.Fatal(err)
	}
}

// Axe gives what axe-core objects to on the page, a line each. It needs node_modules/axe-core at the root of
// the module.
func (b *Browser) Axe() []string {
	b.t.Helper()
	source, err := os.ReadFile(filepath.Join(moduleRoot(b.t), "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		b.t.Fatalf("axe-core is missing, run make setup: %v", err)
	}
	if !get(b, chromedp.Evaluate[bool]("!!window.axe")) { // a page keeps it until it is left
		get(b, chromedp.Evaluate[bool](string(source)+"; true"))
	}
	return get(b, chromedp.Evaluate[[]string](`axe.run(document, {runOnly: ["wcag2a","wcag2aa","wcag21a","wcag21aa","wcag22aa","best-practice"], resultTypes: ["violations"]})
		.then(r => r.violations.map(v => v.id + ": " + v.help + " at " + v.nodes.map(n => n.target.join(" ")).join(", ")))`, chromedp.EvalAwaitPromise))
}

// Complaints collects what the browser objects to from now on: exceptions, console errors and everything its
// log marks as an error, refused by the content security policy among it. The function gives what came so far.
func (b *Browser) Complaints() func() []string {
	b.t.Helper()
	var mu sync.Mutex
	lines := []string{}
	note := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}
	err := chromedp.Listen(b.ctx, func(ev any) {
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			note(fmt.Sprintf("exception: %+v", ev.ExceptionDetails))
		case *runtime.EventConsoleAPICalled:
			if ev.Type == "error" {
				note("console.error")
			}
		case *log.EventEntryAdded:
			if ev.Entry.Level == "error" {
				note(string(ev.Entry.Source) + ": " + ev.Entry.Text + " " + ev.Entry.URL)
			}
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(lines)
	}
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}
