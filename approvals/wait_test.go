package approvals

import (
	"context"
	"testing"
	"time"

	"countersign/internal/problem"
)

func TestWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	got, err := w.queue.Wait(t.Context(), w.gateway, r.ID, 20*time.Millisecond)
	if err != nil || got.State != Pending {
		t.Fatalf("got %+v, %v; want pending when the wait is over", got, err)
	}
	done := make(chan Request)
	go func() {
		got, err := w.queue.Wait(context.Background(), w.gateway, r.ID, time.Minute)
		if err != nil {
			t.Errorf("Wait: %v", err)
		}
		done <- got
	}()
	time.Sleep(20 * time.Millisecond)
	w.vote(w.ada, r, Approve)
	select {
	case got := <-done:
		if got.State != Approved {
			t.Errorf("woken with %+v", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the vote did not wake the gateway")
	}
	_, err = w.queue.Wait(t.Context(), w.other, r.ID, time.Minute)
	wantProblem(t, err, problem.NotFound, "no_such_approval")

	r = w.ask(w.call(2))
	w.exec(`update approvals set expires_at = clock_timestamp() + interval '50 milliseconds' where id = $1`, r.ID)
	if got, err = w.queue.Wait(t.Context(), w.gateway, r.ID, time.Minute); err != nil || got.State != Expired {
		t.Errorf("got %+v, %v; want expired when the time is up", got, err)
	}
}
