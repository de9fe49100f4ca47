package delivery

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// Comparison is what changes for an audience when one revision replaces another.
type Comparison struct {
	From, To  PastRevision
	Changes   policy.Changes        // who gains and who loses what, which guardrails begin and stop
	Sentences []policy.Sentence     // the same in words
	More      int                   // sentences that were left out
	Rules     []registry.RuleChange // the grants and guardrails of either that were made, changed or ended
	Forgotten bool                  // Rules is not known: one of the two is older than the history of rules
}

// Compare says what the revision to says otherwise than from, by the documents as they were published. The zero from is
// a policy of nothing. It needs identity.ReadPolicy. Problem: NotFound no_such_revision.
func (d *Delivery) Compare(ctx context.Context, who identity.Principal, audienceID string, from, to RevisionID) (Comparison, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return Comparison{}, err
	}
	var c Comparison
	err := pgx.BeginTxFunc(ctx, d.pool, registry.ReadOnly, func(tx pgx.Tx) error {
		before, err := policy.Document{}, error(nil)
		if from != (RevisionID{}) {
			before, err = d.readEdition(ctx, tx, audienceID, from, &c.From)
		}
		if err != nil {
			return err
		}
		after, err := d.readEdition(ctx, tx, audienceID, to, &c.To)
		if err != nil {
			return err
		}
		teams, err := readTeamNames(ctx, tx)
		if err != nil {
			return err
		}
		c.Changes = policy.Diff(&before, &after)
		c.Sentences = c.Changes.Words(policy.Wording{Teams: teams, Most: mostNamed})
		if len(c.Sentences) > mostSentences {
			c.More, c.Sentences = len(c.Sentences)-mostSentences, c.Sentences[:mostSentences]
		}
		return d.compareRules(ctx, tx, &c, before, after)
	})
	return c, err
}

// readEdition reads a revision and its document.
func (d *Delivery) readEdition(ctx context.Context, tx pgx.Tx, audienceID string, id RevisionID, past *PastRevision) (doc policy.Document, err error) {
	if *past, err = pastTx(ctx, tx, audienceID, id); err != nil {
		return doc, err
	}
	var text []byte
	err = tx.QueryRow(ctx, `select document from revisions where audience_id = @audience and epoch = @epoch and revision = @revision`,
		pgx.StrictNamedArgs{"audience": audienceID, "epoch": id.Epoch, "revision": id.Revision}).Scan(&text)
	if err == nil {
		doc, err = policy.DecodeOwn(text)
	}
	if err != nil {
		return doc, fmt.Errorf("reading revision %s of audience %s: %w", id, audienceID, err)
	}
	return doc, nil
}

// compareRules keeps the changes of those rules that reach the audience.
func (d *Delivery) compareRules(ctx context.Context, tx pgx.Tx, c *Comparison, editions ...policy.Document) error {
	if c.From.ID() == (RevisionID{}) {
		return nil // everything is new
	}
	changes, err := d.registry.RuleChangesTx(ctx, tx, c.From.ID().Revision, c.To.ID().Revision)
	if problem.Is(err, problem.NotFound) {
		c.Forgotten = true
		return nil
	}
	if err != nil {
		return err
	}
	reaching := map[string]bool{}
	for _, doc := range editions {
		for _, g := range doc.Grants {
			reaching[g.ID] = true
		}
		for _, g := range doc.Guardrails {
			reaching[g.ID] = true
		}
	}
	for _, change := range changes {
		if reaching[change.ID] {
			c.Rules = append(c.Rules, change)
		}
	}
	return nil
}
