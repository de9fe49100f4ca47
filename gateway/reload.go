package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
)

// configPoll is how often the file is read to see whether it changed. It is read whole: a file that was written twice
// in one tick of the file system's clock, or is a link to a new one, is noticed too. A change counts when two readings
// agree, so that half a file is not taken for the whole.
const configPoll = time.Second

// configuration is what is known of the configuration in force, for /readyz.
//
//	file changed ──valid, and nothing fixed changed──▶ in force
//	             └─otherwise──▶ refused whole: the one before stays in force
type configuration struct {
	mu     sync.Mutex // also: one change at a time
	loaded time.Time
	wrong  string // why the file as it is now is not in force
}

// configurationHealth is what /readyz says of it. The reason holds nothing of the file but key names and line numbers:
// everybody can read it.
type configurationHealth struct {
	LoadedAt time.Time `json:"loaded_at"`
	Error    string    `json:"error,omitempty"`
}

func (c *configuration) health() *configurationHealth {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &configurationHealth{LoadedAt: c.loaded.UTC().Truncate(time.Second), Error: c.wrong}
}

// fixedError is a change of what cannot change while a gateway runs.
type fixedError struct{ keys []string }

func (e *fixedError) Error() string {
	return strings.Join(e.keys, ", ") + " cannot change while the gateway runs: restart it"
}

// fixedChanges names the keys that differ although they are marked as fixed.
func fixedChanges(before, after *Config) []string {
	var keys []string
	b, a := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	for i := range b.NumField() {
		field := b.Type().Field(i)
		if field.Tag.Get("running") == "fixed" && !reflect.DeepEqual(b.Field(i).Interface(), a.Field(i).Interface()) {
			keys = append(keys, field.Tag.Get("yaml"))
		}
	}
	return keys
}

// Reload puts another configuration in force, whole or not at all. What is being served goes on as it began; what
// comes next is decided by the new one. It refuses a configuration that is not valid, or that changes what is fixed.
func (g *Gateway) Reload(next Config) error {
	g.loaded.mu.Lock()
	defer g.loaded.mu.Unlock()
	err := g.reload(next)
	g.loaded.wrong = publicFault(err)
	return err
}

// reload is Reload for a caller who holds the lock.
func (g *Gateway) reload(next Config) error {
	if err := next.Validate(); err != nil {
		return fmt.Errorf("checking gateway configuration: %w", err)
	}
	next = next.withDefaults()
	before := g.config()
	if reflect.DeepEqual(*before, next) {
		return nil
	}
	if keys := fixedChanges(before, &next); len(keys) > 0 {
		return &fixedError{keys}
	}
	offered, err := next.Offered()
	if err != nil {
		return err
	}
	g.current.Store(&next)
	if !reflect.DeepEqual(before.Issuers, next.Issuers) {
		g.verifier.Store(g.verifier.Load().trusting(before.Issuers, next, g.own))
	}
	if was, _ := before.Offered(); !slices.Equal(was, offered) {
		g.feed.Offer(offered)
		g.stdio.endChanged()
	}
	g.loaded.loaded = g.now()
	g.log.Info("the configuration changed and is in force")
	return nil
}

// trusting makes a verifier for other issuers. Those that did not change keep the keys that were fetched; no token is
// taken as verified any more.
func (v *verifier) trusting(before []Issuer, next Config, hc *http.Client) *verifier {
	renewed := newVerifier(next, hc, v.now)
	for _, i := range next.Issuers {
		if slices.ContainsFunc(before, func(b Issuer) bool { return reflect.DeepEqual(b, i) }) {
			renewed.issuers[i.Issuer] = v.issuers[i.Issuer]
		}
	}
	return renewed
}

// FollowConfig rereads the file when it changes, and at once when again says so (SIGHUP), until ctx ends. A file that cannot be
// put in force is refused whole, and the log and /readyz say why.
func (g *Gateway) FollowConfig(ctx context.Context, path string, again <-chan os.Signal) error {
	ticker := time.NewTicker(configPoll)
	defer ticker.Stop()
	taken, seen := "", ""
	for {
		told := false
		select {
		case <-ticker.C:
		case <-again:
			told = true
		case <-ctx.Done():
			return nil
		}
		data, err := os.ReadFile(path)
		state := fmt.Sprint(sha256.Sum256(data), err)
		if told || state != taken && state == seen {
			taken = state
			g.take(path, data, err)
		}
		seen = state
	}
}

// take puts what the file holds in force, or says why not.
func (g *Gateway) take(path string, data []byte, err error) {
	var next Config
	if err == nil {
		next, err = parseConfig(path, data)
	}
	if err == nil {
		if err = g.Reload(next); err == nil {
			return
		}
	} else {
		g.loaded.mu.Lock()
		g.loaded.wrong = publicFault(err)
		g.loaded.mu.Unlock()
	}
	g.log.Error("the configuration was refused, the one before stays in force",
		slog.String("file", path), slog.String("reason", plainFault(err)))
}

// plainFault says what is wrong without repeating lines of the file, which may hold what does not belong there.
func plainFault(err error) string {
	if broken, ok := errors.AsType[yaml.Error](err); ok {
		return broken.FormatError(false, false)
	}
	return err.Error()
}

// publicFault is plainFault for everybody.
func publicFault(err error) string {
	if err == nil {
		return ""
	}
	if broken, ok := errors.AsType[yaml.Error](err); ok {
		if token := broken.GetToken(); token != nil && token.Position != nil {
			return fmt.Sprintf("line %d cannot be read", token.Position.Line)
		}
		return "the file cannot be read"
	}
	if fixed, ok := errors.AsType[*fixedError](err); ok {
		return fixed.Error()
	}
	if errors.As(err, new(*os.PathError)) {
		return "the file cannot be opened"
	}
	return "the file is not valid; the log says why"
}
