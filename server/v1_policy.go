package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/canonical"
	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// maxWait caps Prefer: wait (RFC 7240), so that no proxy in between gives up first.
const maxWait = 55 * time.Second

const (
	policyType = "application/vnd.countersign.policy+json;v=1"
	joseType   = "application/jose+json"
)

// getPolicy is the pull API (section "GET /v1/policy" of docs/policy.md). It reads memory only: the snapshot
// is immutable behind an atomic pointer, and this replica's right to renew a lease is the age of its last
// look at registry_head.
func (s *Server) getPolicy(c echo.Context, who identity.Principal) error {
	r := c.Request()
	media := negotiate(r.Header.Values("Accept"), policyType, joseType)
	if media == "" {
		return problem.New(problem.NotAcceptable, "not_acceptable", "The policy is given as %s or as %s.", policyType, joseType)
	}
	known := policy.ParseHeld(r.Header.Values("If-None-Match"))
	wait, preferred := preferWait(r.Header.Values("Prefer"))
	snap, err := s.awaitPolicy(r.Context(), &who, known, wait)
	if err != nil {
		return err
	}
	if wait > 0 { // it may have been revoked or expired while it was parked
		token, _ := bearerToken(r)
		if _, err := s.auth.Bearer(r.Context(), token); err != nil {
			return err
		}
	}
	changed := !known.Has(snap.Tag)
	if changed {
		if err := s.pulls.document(who.GatewayID); err != nil {
			return err
		}
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Vary", "Accept, Accept-Encoding, Authorization, Prefer")
	h.Set("Policy-Revision", strconv.FormatInt(snap.Revision, 10))
	if !known.Any { // who does not say what it holds renews nothing
		h.Set("Policy-Lease", strconv.Itoa(s.cfg.MaxStaleSeconds))
	}
	if preferred {
		h.Set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	}
	return writePolicy(c, snap, media, changed)
}

// writePolicy answers 200 with the representation that the caller prefers, or 304 with its ETag.
func writePolicy(c echo.Context, snap *delivery.Snapshot, media string, changed bool) error {
	h := c.Response().Header()
	body, encoding := snap.Document, ""
	switch {
	case media == joseType:
		encoding = "jose"
	case acceptsGzip(c.Request().Header.Values("Accept-Encoding")):
		body, encoding = snap.Gzip, "gz"
	}
	h.Set("ETag", policy.ETag(snap.Epoch, snap.Revision, snap.Digest, encoding))
	if !changed {
		return c.NoContent(http.StatusNotModified)
	}
	if media == joseType {
		body = []byte(snap.JWS)
	}
	if encoding == "gz" {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Policy-Signature", snap.Detached)
	h.Set("Repr-Digest", reprDigest(body))
	return c.Blob(http.StatusOK, media, body)
}

// awaitPolicy gives the snapshot to answer with: at once when the caller holds another one, else when a new
// one arrives or the time is over. It refuses when this replica does not know that what it has is current.
//
// Ten thousand of these wait at a time: what is on the stack here is what a gateway costs, so that who is not copied.
func (s *Server) awaitPolicy(ctx context.Context, who *identity.Principal, known policy.Held, wait time.Duration) (*delivery.Snapshot, error) {
	if wait == 0 {
		snap := s.delivery.Current(who.AudienceID)
		return snap, s.current(ctx, who, snap, known)
	}
	done, err := s.pulls.park(who.GatewayID)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		clients := s.auth.Changed()
		changed := s.delivery.Changed(who.AudienceID)
		snap := s.delivery.Current(who.AudienceID)
		if err := s.current(ctx, who, snap, known); err != nil && snap != nil {
			return nil, err // only the first policy of an audience is worth waiting for
		}
		if snap != nil && (known.Any || !known.Has(snap.Tag)) {
			return snap, nil
		}
		select {
		case <-changed:
		case <-clients:
			if s.auth.Revoked(who.ID) {
				return snap, nil // the caller checks its credential again and says so
			}
		case <-s.draining:
			return snap, s.current(ctx, who, snap, known)
		case <-ctx.Done():
			return snap, s.current(ctx, who, snap, known)
		}
	}
}

func (s *Server) current(ctx context.Context, who *identity.Principal, snap *delivery.Snapshot, known policy.Held) error {
	switch {
	case snap == nil:
		return retry(problem.New(problem.Unavailable, "policy_compiling", "The first policy for this audience is not compiled yet."))
	case !s.delivery.Fresh():
		return retry(problem.New(problem.Unavailable, "replica_stale", "This replica has lost sight of the database; it renews no lease."))
	case known.Beyond(snap.Tag):
		if s.pulls.tellAhead(who.GatewayID) {
			s.log.WarnContext(ctx, "a gateway holds a later policy than this replica knows: if that lasts, the database was restored; see countersign epoch bump",
				slog.String("gateway", who.Name), slog.String("gateway_id", who.GatewayID), slog.Int64("epoch", snap.Epoch), slog.Int64("revision", snap.Revision))
		}
		return retry(problem.New(problem.Unavailable, "replica_behind", "This replica has not caught up with the revision you hold."))
	}
	return nil
}

func retry(p *problem.Error) *problem.Error {
	p.RetryAfter = time.Second + rand.N(2*time.Second) //nolint:gosec // jitter
	return p
}

// preferWait reads wait=N from Prefer, capped, and up to a tenth shorter so that a fleet does not return at once.
func preferWait(values []string) (time.Duration, bool) {
	for _, value := range values {
		for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ';' }) {
			name, seconds, ok := strings.Cut(strings.TrimSpace(part), "=")
			n, err := strconv.Atoi(strings.Trim(seconds, `"`))
			if !ok || err != nil || n <= 0 || !strings.EqualFold(name, "wait") {
				continue
			}
			wait := min(time.Duration(min(n, 3600))*time.Second, maxWait)
			return wait - rand.N(wait/10+1), true //nolint:gosec // jitter
		}
	}
	return 0, false
}

// reprDigest is the Repr-Digest of RFC 9530.
func reprDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// acceptsGzip reads Accept-Encoding: gzip, unless it is refused by name or, unnamed, along with everything.
func acceptsGzip(values []string) bool {
	others := false
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.ReplaceAll(params, " ", ""), "q="), 64)
			wanted := err != nil || q > 0
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "x-gzip":
				return wanted
			case "*":
				others = wanted
			}
		}
	}
	return others
}

// getDefinition serves the text of a definition that the gateway's policy names. Immutable.
func (s *Server) getDefinition(c echo.Context, who identity.Principal) error {
	digest, err := canonical.ParseDigest(c.Param("digest"))
	if err != nil {
		return problem.New(problem.Invalid, "invalid_digest", "A digest is written sha256: and 64 hexadecimal digits.").Because(err)
	}
	raw, err := s.registry.DefinitionText(c.Request().Context(), who, digest)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	c.Response().Header().Set("ETag", `"`+digest.String()+`"`)
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, raw)
}
