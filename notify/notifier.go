package notify

import (
	"crypto/x509"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/egress"
	"countersign/internal/postgres"
	"countersign/internal/seal"
)

// Config is what a notifier needs. Zero fields mean the defaults.
type Config struct {
	PublicURL string         // where people open what a message is about
	Seal      *seal.Key      // for addresses and secrets
	Guard     egress.Guard   // which addresses may be called beside public ones
	Roots     *x509.CertPool // authorities of receivers; nil: those of the system
	Mail      *Mail          // nil: no mail is sent
	Wake      []string       // topics of the hub that are woken after a commit with notices, beside [Wake]
	Log       *slog.Logger
}

// Wake is the topic of the hub that makes notifiers look.
const Wake = "notices"

// Notifier keeps the channels and delivers to them. It holds no state but what it is delivering right now: each
// replica runs one.
type Notifier struct {
	pool   *pgxpool.Pool
	hub    *postgres.Hub
	cfg    Config
	client *http.Client
	busy   busy
}

// sendTimeout is how long one attempt may take.
const sendTimeout = 15 * time.Second

// New makes a notifier; see Run.
func New(pool *pgxpool.Pool, hub *postgres.Hub, cfg Config) *Notifier {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Notifier{
		pool: pool, hub: hub, cfg: cfg, client: cfg.Guard.Client(sendTimeout, cfg.Roots),
		busy: busy{channels: map[string]int{}},
	}
}

// system is who acts when a receiver or time does.
var system = identity.Principal{Kind: identity.System, Name: "Countersign"}
