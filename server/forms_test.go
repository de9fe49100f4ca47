package server

import (
	"net/url"
	"strconv"

	"countersign/approvals"
)

// decision is the form of a vote on the call as it was asked for.
func decision(h *held, d approvals.Decision, reason string) url.Values {
	return url.Values{
		"decision": {string(d)}, "reason": {reason}, "version": {strconv.Itoa(1)}, "seen_digest": {h.approval.CallDigest.String()},
	}
}
