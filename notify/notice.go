package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"
)

// Notice is something that people are to be told: ids and names, and nothing of what was asked for.
type Notice struct {
	Topic      string         // the kind of the audit event it is about
	ApprovalID string         // "" when it is about none
	TeamIDs    []string       // who is asked; a channel of another team is not told
	Urgent     bool           // never kept back for a digest
	Data       map[string]any // server, tool, risk, state, …: facts for people and programs
}

var topicForm = regexp.MustCompile(`^[a-z_]+(\.[a-z_]+)+$`)

const (
	maxFacts = 20  // members of a notice's data
	maxFact  = 300 // characters of one of them
)

// Append writes a notice in the caller's transaction. It is told after the commit, and never if that does not happen.
// It checks no permission: what happened was permitted to happen.
func Append(ctx context.Context, tx pgx.Tx, n Notice) error {
	if !topicForm.MatchString(n.Topic) {
		return fmt.Errorf("appending a notice: %q is no topic", n.Topic)
	}
	data, err := json.Marshal(bounded(n.Data))
	if err != nil {
		return fmt.Errorf("encoding a notice about %s: %w", n.Topic, err)
	}
	teams := n.TeamIDs
	if teams == nil {
		teams = []string{}
	}
	_, err = tx.Exec(ctx, `
		insert into notices (topic, approval_id, team_ids, urgent, data)
		values (@topic, nullif(@approval, ''), @teams, @urgent, @data)`,
		pgx.StrictNamedArgs{
			"topic": n.Topic, "approval": n.ApprovalID, "teams": teams, "urgent": n.Urgent, "data": string(data),
		})
	if err != nil {
		return fmt.Errorf("appending a notice about %s: %w", n.Topic, err)
	}
	return nil
}

// bounded is data with texts, numbers and booleans alone, made short and visible: what is stored is fit to be shown.
func bounded(data map[string]any) map[string]any {
	out := map[string]any{}
	for name, value := range data {
		if len(out) == maxFacts {
			break
		}
		switch v := value.(type) {
		case string:
			out[name] = Plain(v, maxFact)
		case bool, int, int64, float64:
			out[name] = v
		case fmt.Stringer:
			out[name] = Plain(v.String(), maxFact)
		default:
			out[name] = Plain(fmt.Sprint(v), maxFact)
		}
	}
	return out
}
