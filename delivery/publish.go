package delivery

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/canonical"
	"countersign/internal/postgres"
	"countersign/policy"
	"countersign/registry"
)

// errOvertaken says that another leader has published this generation, or a later one.
var errOvertaken = errors.New("another replica published meanwhile")

// revision is a document made ready to store.
type revision struct {
	policy.Document
	text      []byte           // the document as it is served
	content   canonical.Digest // of what it says, whatever the revision
	digest    canonical.Digest // of text
	gzipped   []byte
	kid       string
	signature policy.Signature
	warnings  []policy.Warning

	rules      int64  // the generation whose rules it has
	refutation string // why these are not the present ones
}

// publish signs the revision and makes it the audience's current one.
func (l *leader) publish(ctx context.Context, a audience, r revision) error {
	err := l.seal(ctx, &r)
	if err != nil {
		return fmt.Errorf("sealing the policy of audience %s: %w", a.ID, err)
	}
	err = postgres.InTx(ctx, l.pool, func(tx pgx.Tx) error { return publishTx(ctx, tx, a, r) })
	switch {
	case errors.Is(err, errOvertaken) || postgres.Constraint(err) == "revisions_pkey":
		l.log.Info("publishing was overtaken", slog.String("audience", a.Name), slog.Int64("revision", r.Revision))
		return nil
	case err != nil:
		return err
	}
	l.keep(a.ID, &r)
	l.log.Info("policy published", slog.String("audience", a.Name), slog.Int64("revision", r.Revision), slog.Int("bytes", len(r.text)))
	return nil
}

// seal signs the bytes that are served, and compresses them.
func (l *leader) seal(ctx context.Context, r *revision) (err error) {
	r.digest = sha256.Sum256(r.text)
	kid, key, err := l.cfg.PolicyKey(ctx)
	if err != nil {
		return fmt.Errorf("reading the signing key: %w", err)
	}
	r.kid = kid
	if r.signature, err = policy.Sign(r.text, key, kid); err != nil {
		return err
	}
	r.gzipped, err = compress(r.text)
	return err
}

// publishTx is the guard against a second leader: a generation is published once, and never after a later one.
func publishTx(ctx context.Context, tx pgx.Tx, a audience, r revision) error {
	tag, err := tx.Exec(ctx, `
		update audiences a
		set revision = @revision, compiled_generation = @revision, rules_generation = @rules, compile_error = @refutation,
		    warnings = @warnings
		where a.id = @audience
		  and (a.compiled_generation < @revision
		       or not exists (select 1 from revisions r where r.audience_id = a.id and r.epoch = @epoch and r.revision = a.revision))`,
		pgx.StrictNamedArgs{"audience": a.ID, "epoch": r.Epoch, "revision": r.Revision, "rules": r.rules, "refutation": r.refutation, "warnings": listed(r.warnings)})
	if err != nil {
		return fmt.Errorf("moving the audience to the revision: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errOvertaken
	}
	_, err = tx.Exec(ctx, `
		insert into revisions (audience_id, epoch, revision, rules_generation, digest, content, document, gzipped, kid, signature, jws)
		values (@audience, @epoch, @revision, @rules, @digest, @content, @document, @gzipped, @kid, @signature, @jws)`,
		pgx.StrictNamedArgs{
			"audience": a.ID, "epoch": r.Epoch, "revision": r.Revision, "rules": r.rules, "digest": r.digest[:], "content": r.content[:],
			"document": r.text, "gzipped": r.gzipped, "kid": r.kid, "signature": r.signature.Detached, "jws": r.signature.JWS,
		})
	if err != nil {
		return fmt.Errorf("storing the revision: %w", err)
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "policy.published", Who: compiler, TargetKind: "audience", TargetID: a.ID, TargetName: a.Name,
		Detail: map[string]any{
			"epoch": r.Epoch, "revision": r.Revision, "digest": r.digest.String(), "servers": len(r.Servers),
			"grants": len(r.Grants), "guardrails": len(r.Guardrails), "warnings": len(r.warnings),
		},
	})
}

// confirm records that the current revision speaks up to this generation.
func (l *leader) confirm(ctx context.Context, a audience, s state, warnings []policy.Warning) error {
	_, err := l.pool.Exec(ctx, `
		update audiences
		set compiled_generation = @generation, rules_generation = @rules, compile_error = @refutation, warnings = @warnings
		where id = @id and revision = @revision and compiled_generation <= @generation`,
		pgx.StrictNamedArgs{
			"id": a.ID, "revision": a.Revision, "generation": s.Generation, "rules": s.rules, "refutation": s.withheld(), "warnings": listed(warnings),
		})
	if err != nil {
		return fmt.Errorf("confirming the revision of audience %s: %w", a.ID, err)
	}
	return nil
}

// fail records that this generation cannot be compiled. The old revision stays in force. It is said once.
func (l *leader) fail(ctx context.Context, a audience, generation int64, cause error) error {
	l.failed[a.ID] = generation
	l.log.Error("policy cannot be compiled, the old revision stays", slog.String("audience", a.Name), slog.Int64("generation", generation), slog.Any("error", cause))
	return l.say(ctx, a, generation, clipped(cause.Error()))
}

// say records why an audience does not have what is in the registry, once.
func (l *leader) say(ctx context.Context, a audience, generation int64, message string) error {
	return postgres.InTx(ctx, l.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update audiences set compile_error = @error where id = @id and compile_error <> @error`,
			pgx.StrictNamedArgs{"id": a.ID, "error": message})
		if err != nil {
			return fmt.Errorf("recording the compile error: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		return audit.Append(ctx, tx, audit.Event{
			Kind: "policy.compile_failed", Who: compiler, TargetKind: "audience", TargetID: a.ID, TargetName: a.Name,
			Detail: map[string]any{"generation": generation, "error": message},
		})
	})
}

// clipped shortens why something cannot be published.
func clipped(message string) string { return message[:min(len(message), 1000)] }

// bump moves the generation, so that what compiles differently by now becomes a revision of its own.
func (l *leader) bump(ctx context.Context) error {
	return postgres.InTx(ctx, l.pool, func(tx pgx.Tx) error {
		_, err := registry.BumpTx(ctx, tx)
		return err
	})
}

func compress(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	return out.Bytes(), nil
}
