package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/client"
	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// bundleType is what makes OPA go on waiting for the next bundle instead of asking now and then.
const bundleType = "application/vnd.openpolicyagent.bundles"

// bundleOperations are what Open Policy Agent uses.
func (s *Server) bundleOperations() []operation {
	return []operation{
		{get, "/v1/bundles/:bundle", gateway, "The policy of the gateway's audience as a signed bundle for Open Policy Agent: the id or the name of the audience, and .tar.gz.", s.bundleDeed()},
		{post, "/v1/status", gateway, "Say what Open Policy Agent runs, as its status plugin does.", s.opaStatusDeed()},
	}
}

func (s *Server) bundleDeed() deed {
	return deed{
		handler: s.getBundle,
		headers: []header{
			{"If-None-Match", "The ETags of the bundles that the gateway holds."},
			{"Prefer", "wait=N: seconds to wait for another bundle."},
		},
		replies: []reply{
			{
				status:   http.StatusOK,
				contents: []content{{media: bundleType}},
				headers: []header{
					{"ETag", "Epoch, revision and digest of the policy, and which form and key the bundle is of."},
					{client.HeaderRevision, "The revision."},
				},
			},
			{status: http.StatusNotModified, headers: []header{{"ETag", "That of the bundle in force."}}},
		},
	}
}

func (s *Server) opaStatusDeed() deed {
	return deed{
		handler: s.postOPAStatus,
		request: &content{media: echo.MIMEApplicationJSON},
		replies: []reply{{status: http.StatusNoContent}},
	}
}

// getBundle is getPolicy for OPA: the same waiting, the same refusals, another representation. A bundle renews no lease,
// as OPA keeps none.
func (s *Server) getBundle(c echo.Context, who identity.Principal) error {
	r := c.Request()
	if s.delivery.Current(who.AudienceID) != nil && !s.namesBundle(c, who) { // before it waits for what it never gets
		return noSuchBundle()
	}
	kid, key := s.auth.BundleKey()
	known := heldBundles(policy.ParseHeld(r.Header.Values("If-None-Match")), delivery.BundleEncoding(kid))
	wait, preferred := preferWait(r.Header.Values("Prefer"))
	snap, err := s.awaitPolicy(r.Context(), &who, known, wait)
	if err != nil {
		return err
	}
	token, _ := bearerToken(r)
	if _, err := s.auth.Bearer(r.Context(), token); err != nil { // revoked or expired while it was parked
		return err
	}
	if !s.namesBundle(c, who) {
		return noSuchBundle()
	}
	bundle, err := s.delivery.Bundle(snap, kid, key)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Vary", "Authorization, Prefer")
	h.Set("Policy-Revision", strconv.FormatInt(snap.Revision, 10))
	h.Set("ETag", bundle.ETag)
	if preferred {
		h.Set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	}
	if known.Has(bundle.Tag) {
		return c.NoContent(http.StatusNotModified)
	}
	h.Set("Repr-Digest", reprDigest(bundle.Archive))
	return c.Blob(http.StatusOK, bundleType, bundle.Archive)
}

// namesBundle says whether the path is that of the bundle of the gateway's own audience.
func (s *Server) namesBundle(c echo.Context, who identity.Principal) bool {
	snap := s.delivery.Current(who.AudienceID)
	audience, ok := strings.CutSuffix(c.Param("bundle"), ".tar.gz")
	return ok && snap != nil && (audience == snap.AudienceID || audience == snap.AudienceName)
}

func noSuchBundle() *problem.Error {
	return problem.New(problem.NotFound, "no_such_bundle", "There is no such bundle for this gateway. Its own is /v1/bundles/, the id or the name of its audience, and .tar.gz.")
}

// heldBundles is an If-None-Match in which what is no bundle of this encoding, such as one of another key, names no
// document: whoever holds it needs ours. That its revision may be newer than ours still counts.
func heldBundles(known policy.Held, encoding string) policy.Held {
	for i, t := range known.Tags {
		if t.Encoding != encoding {
			known.Tags[i].Digest = ""
		}
	}
	return known
}
