package web

import (
	"testing"
	"time"
)

// The clock of the reader's machine may be years off; what is left is what the server said, and it runs down.
func TestTimeLeftNeedsNoClock(t *testing.T) {
	t.Parallel()
	v := queue()
	v.Chosen.Left, v.Chosen.Total = 33*time.Second, 10*time.Minute
	v.Chosen.ExpiresAt = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	b := watching(t, staged(t, ApprovalsPage(page("Approvals", "/approvals"), v)))
	b.Until(`/^0:[0-3]\d left$/.test(document.querySelector(".timer b").textContent)`)
	b.Until(`document.querySelector("progress").value < 31`)
	b.Until(`document.getElementById("say").textContent === "30 seconds left to decide"`)
}
