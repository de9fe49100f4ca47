package server

import (
	"net"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/web"
)

// route is one line of the table. There is no other way to reach a handler.
type route struct {
	method, path string
	access       access
	handler      handler
}

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
)

// routes is the whole address space: who may reach what. A person's routes also check the form token on POST. Those
// of machines are in the tables of operations, which also make the OpenAPI document (operations).
func (s *Server) routes() []route {
	return slices.Concat(s.commonRoutes(), s.consoleRoutes(), s.machineRoutes(), s.catalogRoutes(),
		s.approvalPageRoutes(), s.importRoutes(), s.clientRoutes(), s.grantRoutes(), s.guardrailRoutes(), s.policyPagesRoutes(), s.deedRoutes(), s.channelRoutes(), s.agentRoutes(), s.usageRoutes(), s.alertRoutes())
}

func (s *Server) commonRoutes() []route {
	return []route{
		{get, "/healthz", public, s.healthz},
		{get, "/readyz", public, s.readyz},
		{get, "/static/*", public, static},

		// Signing in and out
		{get, "/signin", public, s.signInPage},
		{get, "/auth/login", public, s.limited(s.beginSignIn)},
		{get, "/auth/callback", public, s.endSignIn},
		{post, "/signout", anyone, s.signOut},
		{get, "/me", anyone, s.mePage},
		{post, "/me/sessions/:id/end", anyone, s.endSession},
	}
}

// consoleRoutes are the pages, and what their forms do.
func (s *Server) consoleRoutes() []route {
	return []route{
		{get, "/", person(identity.ReadRegistry), s.overviewPage},
		{get, "/events", person(identity.ReadRegistry), s.events},
		{get, "/approvals", person(identity.ReadApprovals), s.approvalsPage},
		{get, "/approvals/:id", person(identity.ReadApprovals), s.approvalPage},
		{post, "/approvals/:id/decision", person(identity.Vote), s.decide},
		{post, "/approvals/:id/revoke", person(identity.Vote), s.revokeApproval},

		{get, "/servers", person(identity.ReadRegistry), s.serversPage},
		{get, "/servers.csv", person(identity.ReadRegistry), s.serversCSV},
		{get, "/servers/new", person(identity.RegisterServer), s.newServerPage},
		{post, "/servers", person(identity.RegisterServer), s.registerServer},
		{post, "/servers/sample", person(identity.RegisterServer), s.registerSample},
		{get, "/servers/:id", person(identity.ReadRegistry), s.serverPage},
		{get, "/servers/:id/versions", person(identity.ReadRegistry), s.serverVersionsPage},
		{get, "/servers/:id/access", person(identity.ReadPolicy), s.serverAccessPage},
		{get, "/servers/:id/traffic", person(identity.ReadRegistry), s.serverTrafficPage},
		{get, "/servers/:id/settings", person(identity.ReadRegistry), s.serverSettingsPage},
		{post, "/servers/:id/edit", person(identity.ReadRegistry), s.saveServer},
		{post, "/servers/:id/transfer", person(identity.ReadRegistry), s.transferServer},
		{post, "/servers/:id/move", person(identity.ReadRegistry), s.relocateServer},
		{get, "/servers/:id/tools/:tool", person(identity.ReadPolicy), s.toolPage},
		{post, "/servers/:id/tools/:tool/risk", person(identity.ReadRegistry), s.changeRisk},
		{post, "/servers/:id/tools/:tool/labels", person(identity.ReadRegistry), s.labelTool},
		{post, "/servers/:id/state", person(identity.ReadRegistry), s.setServerState},
		{post, "/servers/:id/discover", person(identity.ReadRegistry), s.discover},
		{get, "/servers/:id/discovery/:job", person(identity.ReadRegistry), s.discoveryPage},
		{post, "/servers/:id/discovery/:job/cancel", person(identity.ReadRegistry), s.cancelDiscovery},
		{post, "/servers/:id/pin", person(identity.ReadRegistry), s.pin},

		{get, "/drift", person(identity.ReadRegistry), s.driftPage},
		{get, "/drift/:tool", person(identity.ReadPolicy), s.driftReviewPage},
		{post, "/drift/:tool/decision", person(identity.ReadRegistry), s.decideDrift},
		{post, "/risks/:id", person(identity.ReadRegistry), s.decideRisk},
		{get, "/sprawl", person(identity.ReadRegistry), s.sprawlPage},
		{get, "/sprawl.csv", person(identity.ReadRegistry), s.sprawlCSV},

		{get, "/teams", person(identity.ReadRegistry), s.teamsPage},
		{post, "/teams", person(identity.ChangeGrant), s.createTeam},

		{get, "/gateways", person(identity.ReadGateways), s.gatewaysPage},
		{get, "/gateways/new", person(identity.EnrolGateway), s.newGatewayPage},
		{post, "/gateways", person(identity.EnrolGateway), s.enrolGateway},
		{get, "/gateways/:id", person(identity.ReadGateways), s.gatewayPage},
		{post, "/gateways/:id/revoke", person(identity.EnrolGateway), s.revokeGateway},

		{get, "/audit", person(identity.ReadAudit), s.auditPage},
		{get, "/audit/:id", person(identity.ReadAudit), s.auditEntryPage},
	}
}

func (s *Server) newEcho() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.onError
	e.IPExtractor = s.addressOf()
	e.Use(withRequestID, s.withLog, s.withHeaders, withCatalogHeaders, s.withRecover)
	for _, r := range s.routes() {
		e.Add(r.method, r.path, s.guard(r.access, r.handler))
	}
	return e
}

// addressOf reads the address of whoever asks: of the connection, or what our own proxies say of it.
func (s *Server) addressOf() echo.IPExtractor {
	if len(s.cfg.TrustedProxies) == 0 {
		return echo.ExtractIPDirect()
	}
	trust := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, proxy := range s.cfg.TrustedProxies {
		trust = append(trust, echo.TrustIPRange(&net.IPNet{IP: proxy.Addr().AsSlice(), Mask: net.CIDRMask(proxy.Bits(), proxy.Addr().BitLen())}))
	}
	return echo.ExtractIPFromXFFHeader(trust...)
}

var files = web.Static()

// static serves what a page is dressed with. The addresses change with the contents.
func static(c echo.Context, _ identity.Principal) error {
	files.ServeHTTP(c.Response(), c.Request())
	return nil
}

func (s *Server) healthz(c echo.Context, _ identity.Principal) error {
	return c.String(http.StatusOK, "ok\n")
}

// readyz says whether this replica should get requests: it sees the database and is not stopping.
func (s *Server) readyz(c echo.Context, _ identity.Principal) error {
	select {
	case <-s.draining:
		return c.String(http.StatusServiceUnavailable, "stopping\n")
	default:
	}
	if !s.delivery.Fresh() {
		return c.String(http.StatusServiceUnavailable, "the policy head was not read lately\n")
	}
	return c.String(http.StatusOK, "ready\n")
}
