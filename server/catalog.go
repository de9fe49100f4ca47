package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
)

// The catalogue is the MCP registry API v0.1, for clients that take a private registry. It has two bases:
//
//	/registry            a bearer token of a client that may read the registry
//	/registry/<secret>   anybody who knows the address, when Config.PublicRegistry is set
//
// Both show where agents go, which is a gateway; neither shows where the server itself is. Whose it is only the first
// one tells.
const catalogPrefix = "/registry/"

const options = http.MethodOptions

func (s *Server) catalogRoutes() []route {
	var routes []route
	for _, r := range []struct {
		path string
		read catalogReader
	}{
		{"/v0.1/servers", s.catalogList},
		{"/v0.1/servers/:name/versions", s.catalogVersions},
		{"/v0.1/servers/:name/versions/:version", s.catalogVersion},
		{"/v0.1/ping", catalogPing},
		{"/v0.1/health", s.catalogHealth},
	} {
		routes = append(routes,
			route{get, "/registry" + r.path, machine(identity.ReadRegistry), catalogAnswer(catalogView{owners: true}, r.read)},
			route{options, "/registry" + r.path, public, preflight},
			route{get, "/registry/:base" + r.path, public, s.atPublicRegistry(catalogAnswer(catalogView{}, r.read))},
			route{options, "/registry/:base" + r.path, public, s.atPublicRegistry(preflight)})
	}
	return routes
}

// catalogView is what a base shows.
type catalogView struct {
	owners bool // also our own facts about a server; the answer is for one reader only
}

// catalogReader reads what a request asks for.
type catalogReader func(c echo.Context, who identity.Principal, v catalogView) (any, error)

// publicReader reads for those who need no credential.
var publicReader = identity.Principal{Kind: identity.System, Name: "registry API"}

// atPublicRegistry lets those on who know the address. For others there is nothing here, as at any other address.
func (s *Server) atPublicRegistry(h handler) handler {
	return limitedBy(s.readers, func(c echo.Context, who identity.Principal) error {
		want, got := sha256.Sum256([]byte(s.cfg.PublicRegistry)), sha256.Sum256([]byte(c.Param("base")))
		if s.cfg.PublicRegistry == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			return echo.ErrNotFound
		}
		return h(c, who)
	})
}

// withCatalogHeaders lets pages of other origins read the catalogue, and its errors: no cookie is read there.
func withCatalogHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if isCatalogPath(c.Request().URL.Path) {
			h := c.Response().Header()
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Access-Control-Allow-Methods", "GET, OPTIONS")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		}
		return next(c)
	}
}

func isCatalogPath(path string) bool { return strings.HasPrefix(path, catalogPrefix) }

func preflight(c echo.Context, _ identity.Principal) error {
	c.Response().Header().Set("Access-Control-Max-Age", "600")
	return c.NoContent(http.StatusNoContent)
}

// catalogAnswer writes what read gives, unless the reader holds it already.
func catalogAnswer(v catalogView, read catalogReader) handler {
	return func(c echo.Context, who identity.Principal) error {
		if !v.owners {
			who = publicReader
		}
		answer, err := read(c, who, v)
		if err != nil {
			return err
		}
		body, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		etag := `"` + hex.EncodeToString(sum[:16]) + `"`
		h := c.Response().Header()
		h.Set("ETag", etag)
		if v.owners {
			h.Set("Cache-Control", "private, no-cache")
			h.Set("Vary", "Authorization")
		} else {
			h.Set("Cache-Control", "public, max-age=60")
		}
		if holds(c.Request().Header.Values("If-None-Match"), etag) {
			return c.NoContent(http.StatusNotModified)
		}
		return c.JSONBlob(http.StatusOK, body)
	}
}

// holds says whether If-None-Match names the tag.
func holds(header []string, etag string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(header, ","), ","), func(tag string) bool {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		return tag == etag || tag == "*"
	})
}

// writeCatalogError writes a problem in the form of the registry API.
func writeCatalogError(c echo.Context, p *problem.Error) error {
	message := p.Message
	if p.Code == "no_such_server" {
		message = "Server not found"
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(p.Kind.Status(), struct {
		Error string `json:"error"`
	}{message})
}

// pathParam is a parameter of the path as it was meant: the router leaves escapes such as %2F in it.
func pathParam(c echo.Context, name string) (string, error) {
	if c.Request().URL.RawPath == "" {
		return c.Param(name), nil
	}
	value, err := url.PathUnescape(c.Param(name))
	if err != nil {
		return "", badParameter("The address is not well formed.").Because(err)
	}
	return value, nil
}

func badParameter(message string) *problem.Error {
	return problem.New(problem.Invalid, "invalid_parameter", "%s", message)
}

func catalogPing(echo.Context, identity.Principal, catalogView) (any, error) {
	return struct {
		Pong bool `json:"pong"`
	}{true}, nil
}

// catalogHealth says whether this replica sees the database.
func (s *Server) catalogHealth(echo.Context, identity.Principal, catalogView) (any, error) {
	if !s.delivery.Fresh() {
		return nil, retry(problem.New(problem.Unavailable, "replica_stale", "This replica has lost sight of the database."))
	}
	return struct {
		Status string `json:"status"`
	}{"ok"}, nil
}
