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
	public bool            // nobody is asked
	bearer bool            // /v1: an access token; cookies are not read
	action identity.Action // a signed-in person (or the bearer) must be allowed this
}

var public = access{public: true}

func person(a identity.Action) access  { return access{action: a} }
func gateway(a identity.Action) access { return access{bearer: true, action: a} }

// anyone is any signed-in person, with or without a role: enough to see who one is and to sign out.
var anyone = access{}

// handler is a route's function; who is the zero Principal on a public route without a session.
type handler func(c echo.Context, who identity.Principal) error

// guard authenticates and authorises before h runs.
func (s *Server) guard(a access, h handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		who, err := s.authenticate(c, a)
		if err != nil {
			return err
		}
		c.Set(principalKey, who)
		if !a.public && a.action != "" {
			if err := who.Can(a.action, ""); err != nil {
				return audit.Refused(c.Request().Context(), s.pool, audit.Event{
					Kind: "access.refused", Who: who, TargetKind: "route", TargetID: c.Path(), TargetName: c.Request().Method,
				}, err)
			}
		}
		if isUnsafe(c.Request().Method) && !a.bearer && !a.public {
			if err := checkCSRF(c); err != nil {
				return audit.Refused(c.Request().Context(), s.pool, audit.Event{
					Kind: "access.refused", Who: who, TargetKind: "route", TargetID: c.Path(), TargetName: c.Request().Method,
				}, err)
			}
		}
		return h(c, who)
	}
}

func (s *Server) authenticate(c echo.Context, a access) (identity.Principal, error) {
	ctx := c.Request().Context()
	var who identity.Principal
	var err error
	switch {
	case a.bearer:
		token, ok := bearerToken(c.Request())
		if !ok {
			c.Response().Header().Set("WWW-Authenticate", `Bearer realm="countersign"`)
			return who, problem.New(problem.Unauthenticated, "token_required", "Send an access token from /oauth/token as a bearer token.")
		}
		if who, err = s.auth.Bearer(ctx, token); err != nil {
			c.Response().Header().Set("WWW-Authenticate", `Bearer realm="countersign", error="invalid_token"`)
			return who, err
		}
	default:
		cookie, cookieErr := c.Cookie(s.sessionCookie())
		if cookieErr == nil {
			who, err = s.auth.Session(ctx, cookie.Value)
		}
		if err != nil && !problem.Is(err, problem.Unauthenticated) {
			return who, err
		}
		if !a.public && who.Kind != identity.Person {
			return who, problem.New(problem.Unauthenticated, "sign_in_required", "Sign in first.")
		}
	}
	who.IP, who.RequestID = c.RealIP(), requestID(c)
	return who, nil
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

// csrfToken is derived from the session cookie, which no page and no script can read: whoever can send it
// has seen a page of this very session. It is the second wall behind the check of Sec-Fetch-Site and Origin.
func csrfToken(c echo.Context, cookieName string) string {
	cookie, err := c.Cookie(cookieName)
	if err != nil {
		return ""
	}
	mac := hmac.New(sha256.New, []byte(cookie.Value))
	mac.Write([]byte("countersign/csrf/v1"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func checkCSRF(c echo.Context) error {
	want := csrfToken(c, c.Get(cookieNameKey).(string))
	if want == "" || !hmac.Equal([]byte(want), []byte(c.FormValue("csrf"))) {
		return problem.New(problem.Forbidden, "form_token",
			"This form is no longer valid, so nothing was changed. Go back, reload the page and send it again.")
	}
	return nil
}

const cookieNameKey = "cookie_name"
