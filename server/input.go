package server

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"countersign/internal/problem"
)

// formLimit bounds a form: the largest we have carries a digest for each of a few thousand tools.
const formLimit = 1 << 20

// readInput reads the address, and the form of a route that takes one, before any handler does. Text that
// PostgreSQL cannot keep is refused here, for all of them: NUL, and what is not UTF-8.
func readInput(c echo.Context, a access) error {
	r := c.Request()
	if isUnsafe(r.Method) && !a.bearer {
		read := readForm
		if a.upload {
			read = readUpload
		}
		if err := read(c); err != nil {
			return err
		}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return problem.New(problem.Invalid, "invalid_address", "The address is not well formed. Nothing was changed.").Because(err)
	}
	if !slices.ContainsFunc(c.ParamValues(), unreadable) && !valuesUnreadable(query) && !valuesUnreadable(r.PostForm) {
		return nil
	}
	return problem.New(problem.Invalid, "invalid_text", "The request holds characters that are no text (NUL, or broken UTF-8). Nothing was changed.")
}

// readForm takes the encoding of our own pages only. A form says everything in its body: what stands in the
// address never fills in a field, so that a link cannot prepare one.
func readForm(c echo.Context) error {
	r := c.Request()
	if header := r.Header.Get("Content-Type"); header != "" {
		if kind, _, err := mime.ParseMediaType(header); err != nil || kind != "application/x-www-form-urlencoded" {
			return problem.New(problem.UnsupportedMedia, unsupportedMedia, "A form is sent as application/x-www-form-urlencoded. Nothing was changed.").Because(err)
		}
	}
	r.Body = http.MaxBytesReader(c.Response().Writer, r.Body, formLimit)
	if err := r.ParseForm(); err != nil {
		return formUnread(err)
	}
	r.Form = r.PostForm
	return nil
}

// formUnread says why a form could not be read.
func formUnread(err error) *problem.Error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem.New(problem.TooLarge, "too_large", "The form is larger than %d bytes. Nothing was changed.", tooLarge.Limit)
	}
	return problem.New(problem.Invalid, "invalid_form", "The form cannot be read. Nothing was changed.").Because(err)
}

func valuesUnreadable(values url.Values) bool {
	for name, list := range values {
		if unreadable(name) || slices.ContainsFunc(list, unreadable) {
			return true
		}
	}
	return false
}

func unreadable(text string) bool { return !utf8.ValidString(text) || strings.ContainsRune(text, 0) }
