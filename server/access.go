package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
)

// access says who may reach a route at all. Domain methods decide again, about the very thing concerned:
// a route that lets too many through is a wrong page, never a wrong deed.
type access struct {
	public bool            // nobody is asked, and no credential is read
	bearer bool            // /v1: an access token; cookies are not read
	upload bool            // its form may carry a file, and be as large as one
	action identity.Action // a signed-in person (or the bearer) must be allowed this
}

var public = access{public: true}

func person(a identity.Action) access { return access{action: a} }

// upload is a person whose form may carry a file.
func upload(a identity.Action) access { return access{action: a, upload: true} }

// gateway is the credential of a gateway; an automation client may not enforce.
var gateway = access{bearer: true, action: identity.Enforce}

// machine is the credential of an automation client, with a role that allows the action. Those of gateways are
// refused, and so is what needs a person's session, whatever the client's roles.
func machine(a identity.Action) access { return access{bearer: true, action: a} }

// anyone is any signed-in person, with or without a role: enough to see who one is and to sign out.
var anyone = access{}

// handler is a route's function; who is the zero Principal on a public route without a session.
type handler func(c echo.Context, who identity.Principal) error

// guard authenticates and authorises before h runs, and reads a form once, whole, before anything looks at it.
func (s *Server) guard(a access, h handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		who, err := s.admit(c, a)
		if err != nil {
			return err
		}
		return h(c, who)
	}
}

// admit says who may go on. The refusal of somebody who is known is in the audit log.
func (s *Server) admit(c echo.Context, a access) (identity.Principal, error) {
	foreign := checkOrigin(c.Request())
	who, err := s.authenticate(c, a)
	switch {
	case err != nil && foreign != nil:
		return who, foreign
	case err != nil:
		return who, err
	}
	c.Set(principalKey, who)
	refusal := foreign
	if refusal == nil && !a.public && a.action != "" {
		refusal = who.Can(a.action, "")
	}
	if refusal == nil {
		if err := readInput(c, a); err != nil {
			return who, err
		}
		if isUnsafe(c.Request().Method) && !a.bearer && !a.public {
			refusal = s.checkCSRF(c)
		}
	}
	if refusal == nil || who.Kind == "" {
		return who, refusal
	}
	return who, audit.Refused(c.Request().Context(), s.pool, audit.Event{
		Kind: "access.refused", Who: who, TargetKind: "route", TargetID: c.Path(), TargetName: c.Request().Method,
	}, refusal)
}

// authenticate reads the one credential that the route takes: none, a bearer token or the session's cookie.
func (s *Server) authenticate(c echo.Context, a access) (identity.Principal, error) {
	who := identity.Principal{}
	var err error
	switch {
	case a.public:
	case a.bearer:
		who, err = s.bearer(c)
	default:
		who, err = s.auth.Session(c.Request().Context(), s.sessionValue(c))
	}
	who.IP, who.RequestID = c.RealIP(), requestID(c)
	return who, err
}

func (s *Server) bearer(c echo.Context) (identity.Principal, error) {
	const challenge = `Bearer realm="countersign"`
	token, ok := bearerToken(c.Request())
	if !ok {
		c.Response().Header().Set("WWW-Authenticate", challenge)
		return identity.Principal{}, problem.New(problem.Unauthenticated, "token_required", "Send an access token from /oauth/token as a bearer token.")
	}
	who, err := s.auth.Bearer(c.Request().Context(), token)
	if problem.Is(err, problem.Unauthenticated) {
		c.Response().Header().Set("WWW-Authenticate", challenge+`, error="invalid_token"`)
	}
	return who, err
}

const principalKey = "principal"

// principal is who the request was authenticated as; anonymous before that.
func principal(c echo.Context) identity.Principal {
	who, _ := c.Get(principalKey).(identity.Principal)
	who.IP, who.RequestID = c.RealIP(), requestID(c)
	return who
}

func bearerToken(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

func isUnsafe(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// checkOrigin is the first wall against other sites: the browser itself says where a request comes from. What
// comes from no browser says nothing, and needs a credential that no browser adds by itself.
func checkOrigin(r *http.Request) error {
	if err := crossOrigin.Check(r); err != nil {
		return problem.New(problem.Forbidden, "cross_site", "This request comes from another site, so nothing was changed.").Because(err)
	}
	return nil
}

var crossOrigin = http.NewCrossOriginProtection()

// csrfToken is derived from the session cookie, which no page and no script can read: whoever can send it
// has seen a page of this very session. It is the second wall.
func (s *Server) csrfToken(c echo.Context) string {
	session := s.sessionValue(c)
	if session == "" {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(session))
	mac.Write([]byte("countersign/csrf/v1"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (s *Server) checkCSRF(c echo.Context) error {
	want := s.csrfToken(c)
	if want == "" || !hmac.Equal([]byte(want), []byte(c.Request().PostFormValue("csrf"))) {
		return problem.New(problem.Forbidden, "form_token",
			"This form is no longer valid, so nothing was changed. Go back, reload the page and send it again.")
	}
	return nil
}
