package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// State is the state of a request; see the package comment.
type State string

// The states of a request. NotRequired is no state of a row: it answers an Ask whose call the policy allows.
const (
	Pending     State = "pending"
	Approved    State = "approved"
	Denied      State = "denied"
	Expired     State = "expired"
	Cancelled   State = "cancelled"
	Superseded  State = "superseded"
	Revoked     State = "revoked"
	Closed      State = "closed"
	NotRequired State = "not_required"
)

// Open reports whether the request may still lead to an execution.
func (s State) Open() bool { return s == Pending || s == Approved }

// Request is a request as the gateway that asked sees it, and what every decision answers.
type Request struct {
	ID         string
	State      State
	Reason     string // of the state
	Version    int64
	CallDigest canonical.Digest
	ExpiresIn  time.Duration // until the pending request expires, or the approved one has to be claimed; never negative
}

// row is a row of approvals, and the database's clock when it was read.
type row struct {
	ID               string
	Epoch            int64
	GatewayID        string
	ServerID         string
	ServerName       string
	ToolID           string
	ToolName         string
	DefinitionDigest []byte
	CallDigest       []byte
	Call             []byte
	Principal        []byte
	CallerIssuer     string
	CallerSubject    string
	CallerName       string
	Agent            string
	Model            string
	Evidence         string
	Guardrails       []string
	Grants           []string
	TeamIDs          []string
	Quorum           int
	DenyQuorum       int
	Generation       int64
	State            State
	Version          int64
	StateReason      string
	DecidedBy        string
	CreatedAt        time.Time
	ExpiresAt        time.Time
	DecidedAt        *time.Time
	ClaimBy          *time.Time
	ChangedAt        time.Time
	Terms            policy.Approval // with the teams in full
	Granters         []string
	EscalateAt       *time.Time
	EscalatedAt      *time.Time
	Scope            *Scope
	AllowanceID      string
	Emergency        bool
	RevealedAt       *time.Time
	PurgedAt         *time.Time
	Now              time.Time
}

const columns = `a.id, a.epoch, a.gateway_id, a.server_id, a.server_name, a.tool_id, a.tool_name, a.definition_digest,
	a.call_digest, a.call, a.principal, a.caller_issuer, a.caller_subject, a.caller_name, a.agent, a.model, a.evidence,
	a.guardrails, a.grants, a.team_ids, a.quorum, a.deny_quorum, a.generation, a.state, a.version, a.state_reason,
	a.decided_by, a.created_at, a.expires_at, a.decided_at, a.claim_by, a.changed_at, a.terms, a.granters, a.escalate_at,
	a.escalated_at, a.scope, coalesce(a.allowance_id, '') as allowance_id, a.emergency, a.revealed_at, a.purged_at,
	clock_timestamp() as now`

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func oneRow(ctx context.Context, db querier, sql string, args pgx.StrictNamedArgs) (row, error) {
	rows, _ := db.Query(ctx, sql, args)
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[row])
}

// load reads a request without locking it.
func load(ctx context.Context, db querier, id string) (row, error) {
	r, err := oneRow(ctx, db, `select `+columns+` from approvals a where a.id = @id`, pgx.StrictNamedArgs{"id": id})
	return r, found(err, id)
}

// lock reads a request, locks it until the transaction ends and then looks at the clock: a clock that was read
// in the locking statement is that of before the wait.
func lock(ctx context.Context, tx pgx.Tx, id string) (row, error) {
	r, err := oneRow(ctx, tx, `select `+columns+` from approvals a where a.id = @id for no key update`, pgx.StrictNamedArgs{"id": id})
	if err := found(err, id); err != nil {
		return row{}, err
	}
	if err := tx.QueryRow(ctx, `select clock_timestamp()`).Scan(&r.Now); err != nil {
		return row{}, fmt.Errorf("reading the database's clock: %w", err)
	}
	return r, nil
}

// found maps the error of a query by id. What the database cannot read as text is no id of ours either.
func found(err error, id string) error {
	switch {
	case errors.Is(err, pgx.ErrNoRows), err != nil && badText(id) != "":
		return problem.New(problem.NotFound, "no_such_approval", "There is no such approval request.")
	case err != nil:
		return fmt.Errorf("reading approval request %q: %w", id, err)
	}
	return nil
}

func (r *row) digest() canonical.Digest {
	var d canonical.Digest
	copy(d[:], r.CallDigest)
	return d
}

func (r *row) view() Request {
	v := Request{ID: r.ID, State: r.State, Reason: r.StateReason, Version: r.Version, CallDigest: r.digest()}
	switch {
	case r.State == Pending:
		v.ExpiresIn = max(0, r.ExpiresAt.Sub(r.Now))
	case r.State == Approved && r.ClaimBy != nil:
		v.ExpiresIn = max(0, r.ClaimBy.Sub(r.Now))
	}
	return v
}

// event is an audit event about the request.
func (r *row) event(kind string, who identity.Principal, detail map[string]any) audit.Event {
	return audit.Event{
		Kind: kind, Who: who, Detail: detail,
		TargetKind: "approval", TargetID: r.ID, TargetName: r.ServerName + " " + r.ToolName,
	}
}

// conflict is the answer to who acts on a request that is not what they think: it tells the current state.
func (r *row) conflict(code, format string, args ...any) error {
	return problem.New(problem.Conflict, code, format, args...).
		Field("state", string(r.State)).Field("version", fmt.Sprint(r.Version))
}

// move is one transition: where to, why, who did it and the kind of the audit event.
type move struct {
	to     State
	reason string
	who    identity.Principal
	kind   string
	detail map[string]any
	scope  *Scope // of an approval: what it allows beside the call
}

// moveTx makes a transition of a request that lock returned, with its audit event, and brings r up to date.
// A request leaves approved only with its token: one that is issued is revoked with it.
func (q *Queue) moveTx(ctx context.Context, tx pgx.Tx, r *row, m move) error {
	if r.State == Approved {
		if err := revokeTokenTx(ctx, tx, r, m); err != nil {
			return err
		}
	}
	moved, err := oneRow(ctx, tx, `
		update approvals a
		   set state = @to, state_reason = @reason, version = version + 1, changed_at = clock_timestamp(),
		       decided_at = case when state = 'pending' then clock_timestamp() else decided_at end,
		       decided_by = case when state = 'pending' then @by else decided_by end,
		       claim_by = case when @to = 'approved' then clock_timestamp() + @claim_within else claim_by end,
		       scope = case when @to = 'approved' then @scope::jsonb else scope end
		 where id = @id and state = @from and version = @version
		   and (@to <> 'approved' or expires_at > clock_timestamp())
		returning `+columns,
		pgx.StrictNamedArgs{
			"id": r.ID, "from": r.State, "version": r.Version, "to": m.to, "reason": m.reason, "by": m.who.ID,
			"claim_within": q.cfg.ClaimWithin, "scope": m.scope,
		})
	if errors.Is(err, pgx.ErrNoRows) {
		return r.conflict("time_is_up", "The time for this request ran out while you decided.")
	}
	if err != nil {
		return fmt.Errorf("moving approval request %s from %s to %s: %w", r.ID, r.State, m.to, err)
	}
	*r = moved
	detail := map[string]any{"digest": r.digest().String(), "version": r.Version}
	maps.Copy(detail, m.detail)
	if m.reason != "" {
		detail["reason"] = m.reason
	}
	if err := audit.Append(ctx, tx, r.event(m.kind, m.who, detail)); err != nil {
		return err
	}
	return q.followedTx(ctx, tx, r, m)
}

// followedTx does what follows from a transition: an approval that is taken back ends what it allowed beside the call,
// and people are told.
func (q *Queue) followedTx(ctx context.Context, tx pgx.Tx, r *row, m move) error {
	if m.to == Revoked {
		if err := q.endAllowanceTx(ctx, tx, r, m); err != nil {
			return err
		}
	}
	if !announced[m.kind] {
		return nil
	}
	return q.announceTx(ctx, tx, r, m.kind, false)
}

// What is sealed, each bound to its row by the digest of the call.
const (
	purposeCall      = "held call"
	purposePrincipal = "caller of a held call"
)

// open decrypts the call and who called.
func (q *Queue) open(sealedCall, sealedPrincipal, digest []byte) (policy.Call, policy.Principal, error) {
	plain, err := q.cfg.Seal.Open(purposeCall, sealedCall, digest)
	if err != nil {
		return policy.Call{}, policy.Principal{}, err
	}
	call, err := policy.DecodeCall(plain)
	if err != nil {
		return policy.Call{}, policy.Principal{}, fmt.Errorf("decoding a held call: %w", err)
	}
	plain, err = q.cfg.Seal.Open(purposePrincipal, sealedPrincipal, digest)
	if err != nil {
		return policy.Call{}, policy.Principal{}, err
	}
	var principal policy.Principal
	if err := json.Unmarshal(plain, &principal); err != nil {
		return policy.Call{}, policy.Principal{}, fmt.Errorf("decoding the caller of a held call: %w", err)
	}
	return call, principal, nil
}
