package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// waitMargin is what a request that waits gets above its wait.
const waitMargin = 15 * time.Second

// Every method below makes one request. An answer of 400 and above is an *Error; anything else that goes
// wrong leaves open whether the control plane acted.

// ReportStatus says what this instance runs and learns who the control plane takes us for.
func (c *Client) ReportStatus(ctx context.Context, s Status) (StatusReply, error) {
	s.Instance, s.Version = c.instance, c.version
	var reply StatusReply
	_, err := c.call(ctx, http.MethodPut, PathStatus, s, &reply)
	return reply, doing("reporting status", err)
}

// Definition returns the text of a definition, as its server sent it, checked against the digest.
func (c *Client) Definition(ctx context.Context, digest canonical.Digest) ([]byte, error) {
	res, err := c.send(ctx, http.MethodGet, "/v1/definitions/"+digest.String(), nil, nil)
	if err != nil {
		return nil, doing("fetching definition", err)
	}
	defer func() {
		drain(res.Body)
		_ = res.Body.Close() // it was only read
	}()
	if res.StatusCode != http.StatusOK {
		return nil, doing("fetching definition", readError(res))
	}
	raw, err := readBounded(res.Body, maxReply)
	if err != nil {
		return nil, doing("fetching definition", err)
	}
	if got, err := DefinitionDigest(raw); err != nil || got != digest {
		return nil, errors.New("fetching definition: it does not have the digest that was asked for")
	}
	return raw, nil
}

// Lease waits for a discovery to do; nil means that there is none now.
func (c *Client) Lease(ctx context.Context, commands []Command, wait time.Duration) (*Job, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+waitMargin)
	defer cancel()
	var job Job
	answered, err := c.call(ctx, http.MethodPost, PathLease,
		LeaseRequest{Instance: c.instance, Commands: commands, Wait: int(wait / time.Second)}, &job)
	if err != nil || !answered {
		return nil, doing("leasing a discovery", err)
	}
	return &job, nil
}

// Progress reports how far a discovery is and renews its lease; it says whether the job was cancelled.
func (c *Client) Progress(ctx context.Context, job string, steps []Step) (cancelled bool, err error) {
	var reply ProgressReply
	_, err = c.call(ctx, http.MethodPost, PathDiscoveries+url.PathEscape(job)+"/progress", Progress{Steps: steps}, &reply)
	return reply.Cancelled, doing("reporting progress", err)
}

// Finish hands over what a discovery found.
func (c *Client) Finish(ctx context.Context, job string, offer Offer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := c.call(ctx, http.MethodPost, PathDiscoveries+url.PathEscape(job)+"/result", offer, nil)
	return doing("reporting what was discovered", err)
}

// Fail says why a discovery found nothing.
func (c *Client) Fail(ctx context.Context, job string, f Failure) error {
	_, err := c.call(ctx, http.MethodPost, PathDiscoveries+url.PathEscape(job)+"/failure", f, nil)
	return doing("reporting a failed discovery", err)
}

// Observe reports what an endpoint serves and learns what is held because of it.
func (c *Client) Observe(ctx context.Context, o Observation) ([]HeldTool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var reply ObservationReply
	_, err := c.call(ctx, http.MethodPost, PathObservations, o, &reply)
	return reply.Held, doing("reporting an observation", err)
}

// Ask asks for the approval of exactly this call, or joins the request that was made for it before.
func (c *Client) Ask(ctx context.Context, a Ask) (Approval, error) {
	var reply Approval
	_, err := c.call(ctx, http.MethodPost, PathApprovals, a, &reply)
	return reply, doing("asking for approval", err)
}

// Approval returns a request, when it is decided or when the wait is over (0: at once).
func (c *Client) Approval(ctx context.Context, id string, wait time.Duration) (Approval, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+waitMargin)
	defer cancel()
	path := PathApprovals + "/" + url.PathEscape(id)
	if wait > 0 {
		path += "?wait=" + strconv.Itoa(int(wait/time.Second))
	}
	var reply Approval
	_, err := c.call(ctx, http.MethodGet, path, nil, &reply)
	return reply, doing("reading an approval request", err)
}

// CancelApproval withdraws a request that is pending.
func (c *Client) CancelApproval(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodPost, PathApprovals+"/"+url.PathEscape(id)+"/cancel", struct{}{}, nil)
	return doing("withdrawing an approval request", err)
}

// Claim takes the confirmation token of a request that was approved. Claiming again makes the token of
// before worthless.
func (c *Client) Claim(ctx context.Context, id string) (Claim, error) {
	var reply Claim
	_, err := c.call(ctx, http.MethodPost, PathApprovals+"/"+url.PathEscape(id)+"/token", struct{}{}, &reply)
	return reply, doing("claiming a confirmation", err)
}

// redeemAttempts bounds how often Redeem sends the same redemption when it got no answer.
const redeemAttempts = 4

var errReplayed = errors.New("redeeming a confirmation: it was redeemed before us")

// Redeem uses a confirmation token up. When it returns nil, the caller, and nobody else, may execute this
// call, once. It asks again, with the same redemption id, only while it got no answer at all: the answer
// "replayed" is then ours. To a first attempt it would be somebody else's, and is refused.
func (c *Client) Redeem(ctx context.Context, token, redemptionID string, call policy.Call) (Redemption, error) {
	in := Redeem{Token: token, Call: call, RedemptionID: redemptionID, Instance: c.instance}
	for attempt := 0; ; attempt++ {
		var reply Redemption
		_, err := c.call(ctx, http.MethodPost, PathRedeem, in, &reply)
		switch {
		case err == nil && reply.Replayed && attempt == 0:
			return Redemption{}, errReplayed
		case err == nil:
			return reply, nil
		case Refused(err) || attempt+1 == redeemAttempts:
			return Redemption{}, doing("redeeming a confirmation", err)
		}
		if err := sleep(ctx, backoff(attempt, 250*time.Millisecond, 2*time.Second)); err != nil {
			return Redemption{}, doing("redeeming a confirmation", err)
		}
	}
}

// ReportOutcome says how an approved call ended.
func (c *Client) ReportOutcome(ctx context.Context, redemptionID string, o Outcome) error {
	_, err := c.call(ctx, http.MethodPost, PathConfirmation+url.PathEscape(redemptionID)+"/outcome", o, nil)
	return doing("reporting an outcome", err)
}

// SendCalls sends call records. Sending one twice does no harm.
func (c *Client) SendCalls(ctx context.Context, calls []CallRecord) error {
	_, err := c.call(ctx, http.MethodPost, PathCalls, CallBatch{Calls: calls}, nil)
	return doing("sending call records", err)
}

func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
