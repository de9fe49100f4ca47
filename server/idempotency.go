package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
)

// A request with an Idempotency-Key is done once, however often it is sent:
//
//	(none) ──claim──▶ under way ──settle──▶ settled: the answer is replayed, for a day
//	   ▲                 │
//	   └────release──────┘ a refusal that changed nothing and may pass: not allowed, too many, not available
//
// A key stays under way when its request ended and nobody knows how: the replica died, or the database did in the very
// moment of the commit. It is then refused for a day, since doing it again might do it twice.
const (
	idempotencyKey      = "Idempotency-Key"
	idempotencyReplayed = "Idempotency-Replayed"

	idempotentFor  = time.Minute // how long a request may work after its client has gone
	maxKey         = 200
	sweptAtOnce    = 100
	keyExpired     = `created_at < clock_timestamp() - interval '24 hours'`
	claimingRounds = 3
)

// kept is an answer that can be given again.
type kept struct {
	Status  int
	Headers map[string]string // Content-Type, Location, ETag
	Body    []byte
}

func (k kept) write(c echo.Context) error {
	for name, value := range k.Headers {
		c.Response().Header().Set(name, value)
	}
	if len(k.Body) == 0 {
		return c.NoContent(k.Status)
	}
	return c.Blob(k.Status, k.Headers[echo.HeaderContentType], k.Body)
}

// once performs the request, unless it carries a key that was used before. Then the answer is the earlier one, or says
// why there is none. With a key the work goes on when the client has gone: it will ask again.
func (s *Server) once(c echo.Context, who identity.Principal, body []byte, perform func(context.Context) (kept, error)) (kept, error) {
	key, err := keyOf(c.Request().Header)
	if err != nil {
		return kept{}, err
	}
	if key == "" {
		return perform(c.Request().Context())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), idempotentFor)
	defer cancel()
	earlier, err := s.claim(ctx, who.ID, key, requestDigest(c.Request(), body))
	switch {
	case err != nil:
		return kept{}, err
	case earlier != nil:
		c.Response().Header().Set(idempotencyReplayed, "true")
		return *earlier, nil
	}
	answer, err := perform(ctx)
	if err != nil {
		p := s.toProblem(err)
		switch known := (*problem.Error)(nil); {
		case errors.As(err, &known) && slices.Contains(passing, known.Kind):
			s.release(ctx, who.ID, key)
			return kept{}, err
		case p.Kind == problem.Internal || p.Kind == problem.Unavailable:
			return kept{}, err // nobody knows what was done: the key stays as it is
		}
		if answer, err = keepProblem(p); err != nil {
			return kept{}, err
		}
	}
	s.settle(ctx, who.ID, key, answer)
	return answer, nil
}

// passing are the refusals that change nothing and may be other ones a moment later.
var passing = []problem.Kind{problem.Unauthenticated, problem.Forbidden, problem.RateLimited, problem.Unavailable}

// keyOf reads the key: 1 to 200 visible ASCII characters, as they are.
func keyOf(h http.Header) (string, error) {
	given := h.Values(idempotencyKey)
	if len(given) == 0 {
		return "", nil
	}
	hidden := func(r rune) bool { return r < '!' || r > '~' }
	if key := given[0]; len(given) == 1 && key != "" && len(key) <= maxKey && !slices.ContainsFunc([]rune(key), hidden) {
		return key, nil
	}
	return "", problem.New(problem.Invalid, "invalid_idempotency_key",
		"An Idempotency-Key is 1 to %d visible ASCII characters, given once. Nothing was changed.", maxKey).
		Field(idempotencyKey, "Send a fresh random value, like a UUID.")
}

// requestDigest tells one request from another: method, address, the version it changes, and the body.
func requestDigest(r *http.Request, body []byte) []byte {
	h := sha256.New()
	for _, part := range []string{r.Method, r.URL.RequestURI(), r.Header.Get("If-Match"), string(body)} {
		fmt.Fprintf(h, "%d:%s,", len(part), part)
	}
	return h.Sum(nil)
}

// claim makes the key ours (nil), or gives the answer to the request that had it. Expired keys go on the way.
//
// Problems: Unprocessable idempotency_key_reused; Conflict idempotency_in_progress.
func (s *Server) claim(ctx context.Context, actor, key string, request []byte) (*kept, error) {
	args := pgx.StrictNamedArgs{"actor": actor, "key": key}
	for range claimingRounds {
		_, err := s.pool.Exec(ctx, `
			delete from idempotency_keys
			where `+keyExpired+` and (actor_id, key) in (
			  (select @actor, @key)
			  union all
			  (select actor_id, key from idempotency_keys where `+keyExpired+` order by created_at limit `+fmt.Sprint(sweptAtOnce)+`))`, args)
		if err != nil {
			return nil, fmt.Errorf("sweeping idempotency keys: %w", err)
		}
		tag, err := s.pool.Exec(ctx, `
			insert into idempotency_keys (actor_id, key, request) values (@actor, @key, @request) on conflict do nothing`,
			pgx.StrictNamedArgs{"actor": actor, "key": key, "request": request})
		if err != nil {
			return nil, fmt.Errorf("claiming an idempotency key: %w", err)
		}
		if tag.RowsAffected() == 1 {
			return nil, nil //nolint:nilnil // no error and no earlier answer: the key is ours
		}
		earlier, err := s.earlier(ctx, args, request)
		if !errors.Is(err, pgx.ErrNoRows) { // released between the two statements: try again
			return earlier, err
		}
	}
	return nil, inProgress()
}

func inProgress() *problem.Error {
	return problem.New(problem.Conflict, "idempotency_in_progress",
		"A request with this Idempotency-Key is under way, or its outcome is not known. Wait a moment and send it again. "+
			"If the answer stays, look whether what it should do was done, and only then send it with a new key.")
}

// earlier reads the answer to the request that had the key.
func (s *Server) earlier(ctx context.Context, key pgx.StrictNamedArgs, request []byte) (*kept, error) {
	rows, _ := s.pool.Query(ctx, `
		select request, coalesce(status, 0) as status, headers, coalesce(body, '') as body
		from idempotency_keys where actor_id = @actor and key = @key`, key)
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[struct {
		Request []byte
		kept
	}])
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading an idempotency key: %w", err)
	case !slices.Equal(found.Request, request):
		return nil, problem.New(problem.Unprocessable, "idempotency_key_reused",
			"This Idempotency-Key was used for another request. Nothing was changed; choose a new key for each thing that is to be done.")
	case found.Status == 0:
		return nil, inProgress()
	}
	return &found.kept, nil
}

// settle keeps the answer. If that fails the key stays under way, which is safe.
func (s *Server) settle(ctx context.Context, actor, key string, answer kept) {
	headers := map[string]string{} // never null
	maps.Copy(headers, answer.Headers)
	_, err := s.pool.Exec(ctx, `
		update idempotency_keys set status = @status, headers = @headers, body = @body, finished_at = clock_timestamp()
		where actor_id = @actor and key = @key and status is null`,
		pgx.StrictNamedArgs{"actor": actor, "key": key, "status": answer.Status, "headers": headers, "body": answer.Body})
	if err != nil {
		s.log.WarnContext(ctx, "an answer was not kept for replay", slog.Any("error", err))
	}
}

// release forgets the key: nothing was done.
func (s *Server) release(ctx context.Context, actor, key string) {
	_, err := s.pool.Exec(ctx, `delete from idempotency_keys where actor_id = @actor and key = @key and status is null`,
		pgx.StrictNamedArgs{"actor": actor, "key": key})
	if err != nil {
		s.log.WarnContext(ctx, "an idempotency key was not released", slog.Any("error", err))
	}
}

// keepJSON is the answer with a body of JSON.
func keepJSON(status int, body any) (kept, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return kept{}, fmt.Errorf("encoding an answer: %w", err)
	}
	return kept{Status: status, Headers: map[string]string{echo.HeaderContentType: echo.MIMEApplicationJSON}, Body: raw}, nil
}

// keepProblem is the answer to a problem.
func keepProblem(p *problem.Error) (kept, error) {
	answer, err := keepJSON(p.Kind.Status(), problemOf(p))
	if err == nil {
		answer.Headers[echo.HeaderContentType] = problemType
	}
	return answer, err
}
