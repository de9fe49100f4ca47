package server

import (
	"net/http"
	"reflect"

	"github.com/go-jose/go-jose/v4"
	"github.com/labstack/echo/v4"

	"countersign/client"
	"countersign/policy"
)

// gatewayOperations are what gateways use: their credentials, the policy, discoveries and held calls.
func (s *Server) gatewayOperations() []operation {
	return []operation{
		{post, "/oauth/token", public, "Trade a client's secret for a short access token.", s.tokens()},
		{get, "/v1/openapi.json", public, "This document.", s.describes()},
		{get, "/v1/keys", public, "The public keys that verify policies and bundles, plain or as the root key vouches for them.", s.keys()},
		{get, "/v1/policy.schema.json", public, "The JSON Schema of the policy document.", s.policySchema()},
		{get, "/v1/policy", gateway, "The policy of the gateway's audience, at once or when it changes.", s.policies()},
		{get, "/v1/definitions/:digest", gateway, "The text of a definition that the gateway's policy names.", s.definitionTexts()},
		{put, "/v1/gateways/self/status", gateway, "Say what one instance of the gateway runs.", exchanges(bodyLimit, s.putStatus, http.StatusOK)},

		{post, "/v1/discoveries/lease", gateway, "Wait for a discovery that this gateway can do, and lease it.", exchanges(bodyLimit, s.leaseDiscovery, http.StatusOK, http.StatusNoContent)},
		{post, "/v1/discoveries/:id/progress", gateway, "Say how far a discovery is, and renew its lease.", exchanges(bodyLimit, s.postProgress, http.StatusOK)},
		{post, "/v1/discoveries/:id/result", gateway, "Say what the server offers.", exchanges(discoveryLimit, s.postOffer, http.StatusNoContent)},
		{post, "/v1/discoveries/:id/failure", gateway, "Say why the server could not be looked at.", exchanges(bodyLimit, s.postFailure, http.StatusNoContent)},
		{post, "/v1/observations", gateway, "Say what an endpoint serves. It can hold a tool, never pin one.", exchanges(discoveryLimit, s.postObservation, http.StatusOK)},

		{post, "/v1/approvals", gateway, "Ask people to approve a call.", exchanges(bodyLimit, s.postApproval, http.StatusOK, http.StatusCreated)},
		{get, "/v1/approvals/:id", gateway, "How far an approval is.", exchanges(0, s.getApproval, http.StatusOK).with(reflect.TypeFor[waiting]())},
		{post, "/v1/approvals/:id/token", gateway, "Claim the confirmation token of an approved call, once.", exchanges(0, s.claimToken, http.StatusOK)},
		{post, "/v1/approvals/:id/cancel", gateway, "Say that nobody waits for the approval any more.", exchanges(0, s.cancelApproval, http.StatusOK)},
		{post, "/v1/confirmations/redeem", gateway, "Redeem a confirmation token for one execution of the very call.", exchanges(bodyLimit, s.redeem, http.StatusOK)},
		{post, "/v1/confirmations/:id/outcome", gateway, "Say how the approved call ended. The id is that of the redemption.", exchanges(bodyLimit, s.outcome, http.StatusNoContent)},
		{post, "/v1/calls", gateway, "Record calls: sizes and decisions, never arguments.", exchanges(bodyLimit, s.postCalls, http.StatusOK)},
	}
}

// tokenRequest is the form of RFC 6749 section 4.4.
type tokenRequest struct {
	GrantType    string `json:"grant_type" doc:"client_credentials"`
	ClientID     string `json:"client_id,omitempty" doc:"Unless the Authorization header says it."`
	ClientSecret string `json:"client_secret,omitempty" doc:"Unless the Authorization header says it."`
}

func (s *Server) tokens() deed {
	refused := content{echo.MIMEApplicationJSON, reflect.TypeFor[client.TokenError]()}
	return deed{
		handler: s.limited(s.postToken),
		request: &content{echo.MIMEApplicationForm, reflect.TypeFor[tokenRequest]()},
		replies: []reply{
			replyOf[client.TokenReply](http.StatusOK),
			{status: http.StatusBadRequest, contents: []content{refused, problemContent}},
			{status: http.StatusUnauthorized, contents: []content{refused}},
			{status: http.StatusForbidden, contents: []content{refused, problemContent}},
		},
	}
}

func (s *Server) keys() deed {
	return deed{handler: s.getKeys, replies: []reply{{
		status:   http.StatusOK,
		contents: []content{{echo.MIMEApplicationJSON, reflect.TypeFor[jose.JSONWebKeySet]()}, {joseType, nil}},
	}}}
}

func (s *Server) policies() deed {
	return deed{
		handler: s.getPolicy,
		headers: []header{
			{"If-None-Match", "The ETag of the policy that the gateway holds."},
			{"Prefer", "wait=N: seconds to wait for another policy."},
		},
		replies: []reply{
			{
				status:   http.StatusOK,
				contents: []content{{policyType, reflect.TypeFor[policy.Document]()}, {joseType, nil}},
				headers: []header{
					{"ETag", "Epoch, revision and digest."},
					{client.HeaderRevision, "The revision."},
					{client.HeaderLease, "Seconds for which the policy may be enforced without another answer."},
					{client.HeaderSignature, "The detached signature over the body."},
				},
			},
			{status: http.StatusNotModified, headers: []header{{client.HeaderLease, "Seconds for which the policy may be enforced without another answer."}}},
		},
	}
}

func (s *Server) definitionTexts() deed {
	return deed{handler: s.getDefinition, replies: []reply{{
		status: http.StatusOK, contents: []content{{media: echo.MIMEApplicationJSON}}, headers: []header{{"ETag", "The digest."}},
	}}}
}
