package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// longestWait is how long one request for a decision may wait.
const longestWait = 45 * time.Second

// confirmation gives the token to redeem: the one that was carried, or one that is claimed because people have approved
// this very call. Whoever carries a token is not asked for; if it is no good, redeeming says so.
func (c *guarded) confirmation(ctx context.Context, call policy.Call, digest canonical.Digest) (token string, err error) {
	if c.token != "" {
		return c.token, nil
	}
	if before := c.g.calls.recall(digest); before != "" {
		if a, err := c.g.Client.Approval(ctx, before, 0); err == nil && lost(a.State) {
			return "", notApproved(a)
		}
	}
	approval, err := c.g.Client.Ask(ctx, Ask{Call: call, CallDigest: digest, Evidence: c.caller.Token, Principal: c.caller.Principal})
	if err != nil {
		return "", c.notAsked(err)
	}
	if approval, err = c.await(ctx, approval); err != nil {
		return "", err
	}
	switch approval.State { //nolint:exhaustive // in every other state it was not approved
	case ApprovalApproved:
		return c.claim(ctx, approval)
	case ApprovalPending:
		c.g.calls.remember(digest, approval.ID)
		return "", c.held(approval, digest)
	case ApprovalNotRequired:
		return "", notExecuted(ReasonPolicyMoving, nil, "NOT EXECUTED YET: the policy has just changed. Call again in a few seconds.")
	}
	return "", notApproved(approval)
}

// lost reports whether a request ended without an approval.
func lost(s ApprovalState) bool {
	switch s { //nolint:exhaustive // these are all
	case ApprovalDenied, ApprovalExpired, ApprovalCancelled, ApprovalSuperseded, ApprovalRevoked:
		return true
	}
	return false
}

// await waits for people, as long as the configuration says.
func (c *guarded) await(ctx context.Context, a Approval) (Approval, error) {
	until := c.g.now().Add(c.g.Wait)
	for a.State == ApprovalPending {
		left := until.Sub(c.g.now())
		if left < time.Second {
			return a, nil
		}
		later, err := c.g.Client.Approval(ctx, a.ID, min(left, longestWait))
		if ctx.Err() != nil {
			return a, notExecuted(ReasonUnavailable, ctx.Err(), "NOT EXECUTED: the request was given up. People are still asked, at %s .", a.URL)
		}
		if err != nil {
			return a, nil //nolint:nilerr // it waits as far as we know, and the caller is told where
		}
		a = later
	}
	return a, nil
}

// claim takes the confirmation of an approved request.
func (c *guarded) claim(ctx context.Context, a Approval) (token string, err error) {
	claim, err := c.g.Client.Claim(ctx, a.ID)
	switch {
	case err == nil:
		return claim.Token, nil
	case IsCode(err, CodeRevealed):
		return "", notExecuted(ReasonNotApproved, err, "NOT EXECUTED: the confirmation token of this approval was shown to the person who called. "+
			"Ask them for it, and call again with it as %s, everything else unchanged.", confirmationArgument)
	case Refused(err):
		return "", notExecuted(ReasonNotApproved, err, "NOT EXECUTED: the approval of this call was used already, or is no longer good. Call again to ask for a new one.")
	}
	return "", unavailable(err)
}

// held tells where people decide. The digest of the call is a reference for people, and no secret.
func (c *guarded) held(a Approval, digest canonical.Digest) *NotExecutedError {
	expires := c.g.now().Add(time.Duration(a.ExpiresIn) * time.Second).UTC()
	return &NotExecutedError{
		Reason: policy.ReasonApprovalRequired, Approval: &a, Digest: digest, at: c.g.now(),
		Text: fmt.Sprintf("APPROVAL REQUIRED (not executed). A person other than you has to approve this exact call at %s . "+
			"After the approval, call %s again with exactly the same arguments. If you are given a confirmation token, add it as %s. "+
			"Expires %s. Do not change the arguments.", a.URL, c.tool, confirmationArgument, expires.Format("15:04Z")),
	}
}

// notAsked tells why people are not asked.
func (c *guarded) notAsked(err error) *NotExecutedError {
	c.g.log.Warn("an approval was not asked for", slog.String("tool", c.tool), slog.Any("error", err))
	e := (*Error)(nil)
	switch {
	case IsCode(err, CodeDenied):
		return notExecuted(policy.ReasonDeniedByGuardrail, err, "DENIED by policy (not executed): the policy by now forbids this call. Do not retry.")
	case errors.As(err, &e) && e.Status == http.StatusTooManyRequests:
		n := notExecuted(ReasonUnavailable, err, "NOT EXECUTED: too many of your calls wait for approval already. Wait until some are decided.")
		n.RetryAfter = e.RetryAfter
		return n
	case IsCode(err, CodeNoEvidence), IsCode(err, CodeBadEvidence):
		return notExecuted(ReasonUnavailable, err, "NOT EXECUTED: this call needs an approval, and for that a token that proves who calls. Sign in anew, then call again.")
	case Refused(err):
		return notExecuted(ReasonUnavailable, err, "NOT EXECUTED: this call needs an approval, and the control plane did not accept the request for it. Tell the operator of the server.")
	}
	return unavailable(err)
}
