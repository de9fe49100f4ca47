package server

import (
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/registry"
)

// catalogList is GET {base}/v0.1/servers: one record for each version, by name and version.
func (s *Server) catalogList(c echo.Context, who identity.Principal, v catalogView) (any, error) {
	filter, err := catalogFilter(c.QueryParams())
	if err != nil {
		return nil, err
	}
	page, err := s.registry.Published(c.Request().Context(), who, filter)
	if err != nil {
		return nil, err
	}
	return s.catalogPage(c, v, page)
}

// catalogVersions is GET {base}/v0.1/servers/{name}/versions: all of one server, newest first.
func (s *Server) catalogVersions(c echo.Context, who identity.Principal, v catalogView) (any, error) {
	name, err := pathParam(c, "name")
	if err != nil {
		return nil, err
	}
	deleted, _, err := flagParameter(c.QueryParams(), "include_deleted")
	if err != nil {
		return nil, err
	}
	list, err := s.registry.PublishedVersions(c.Request().Context(), who, name, deleted)
	if err != nil {
		return nil, err
	}
	return s.catalogPage(c, v, registry.Page[registry.Published]{Items: list})
}

// catalogVersion is GET {base}/v0.1/servers/{name}/versions/{version}, where latest is a version, too.
func (s *Server) catalogVersion(c echo.Context, who identity.Principal, v catalogView) (any, error) {
	name, err := pathParam(c, "name")
	if err != nil {
		return nil, err
	}
	version, err := pathParam(c, "version")
	if err != nil {
		return nil, err
	}
	deleted, _, err := flagParameter(c.QueryParams(), "include_deleted")
	if err != nil {
		return nil, err
	}
	found, err := s.registry.PublishedVersion(c.Request().Context(), who, name, version, deleted)
	if err != nil {
		return nil, err
	}
	gateways, err := s.delivery.Gateways(c.Request().Context(), publicReader, false)
	if err != nil {
		return nil, err
	}
	return v.record(found, gateways), nil
}

func (s *Server) catalogPage(c echo.Context, v catalogView, page registry.Page[registry.Published]) (any, error) {
	gateways, err := s.delivery.Gateways(c.Request().Context(), publicReader, false)
	if err != nil {
		return nil, err
	}
	list := catalogListing{Servers: make([]catalogRecord, 0, len(page.Items))}
	for _, p := range page.Items {
		list.Servers = append(list.Servers, v.record(p, gateways))
	}
	list.Metadata.Count, list.Metadata.NextCursor = len(list.Servers), page.Next
	return list, nil
}

const (
	catalogPageSize = 30
	catalogMost     = 100
)

// catalogFilter reads the parameters of a list. Those that are not known are left alone.
func catalogFilter(query url.Values) (registry.PublishedFilter, error) {
	f := registry.PublishedFilter{After: query.Get("cursor"), Search: query.Get("search"), Version: query.Get("version"), Limit: catalogPageSize}
	if len(f.After) > 100 {
		return f, badParameter("cursor: it is none that was given out.")
	}
	if utf8.RuneCountInString(f.Search) > 200 {
		return f, badParameter("search: at most 200 characters.")
	}
	if f.Version != "" && f.Version != registry.Latest && !registry.ValidVersion(f.Version) {
		return f, badParameter("version: latest, or a version like 1.0.2.")
	}
	if limit := query.Get("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 {
			return f, badParameter("limit: a number from 1 to 100.")
		}
		f.Limit = min(n, catalogMost)
	}
	deleted, said, err := flagParameter(query, "include_deleted")
	if err != nil {
		return f, err
	}
	f.Retired = deleted
	if since := query.Get("updated_since"); since != "" {
		at, err := time.Parse(time.RFC3339, since)
		if err != nil {
			return f, badParameter("updated_since: a time like 2026-01-31T12:00:00Z.")
		}
		if said && !deleted {
			return f, badParameter("include_deleted: who asks what changed is also told what was deleted.")
		}
		f.Since, f.Retired = &at, true
	}
	return f, nil
}

// flagParameter reads true or false; said is whether it is there.
func flagParameter(query url.Values, name string) (value, said bool, err error) {
	switch query.Get(name) {
	case "":
		return false, false, nil
	case "true":
		return true, true, nil
	case "false":
		return false, true, nil
	}
	return false, false, badParameter(name + ": true or false.")
}
