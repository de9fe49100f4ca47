package approvals

import (
	"context"
	"fmt"
)

// Mark differs after each transition of any request, for a page that is told when to look again.
func (q *Queue) Mark(ctx context.Context) (string, error) {
	var mark string
	err := q.pool.QueryRow(ctx, `
		select concat((select count(*) from approvals where state = 'pending'), '-',
		              (select extract(epoch from max(changed_at)) from approvals))`).Scan(&mark)
	if err != nil {
		return "", fmt.Errorf("looking for changed approval requests: %w", err)
	}
	return mark, nil
}
