package server

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"countersign/internal/problem"
	"countersign/registry"
)

// Limits of a form that carries a file: room for the largest listing beside the other fields, and for a tick beside
// each of its entries.
const (
	uploadLimit = registry.MaxListingBytes + 1<<20
	uploadParts = 4096
)

// readUpload reads a form that carries a file as a field: the text of the file, under the name of its input. It is
// held in memory and never on disk. Without a file the form may also come as any other does, and no larger.
func readUpload(c echo.Context) error {
	r := c.Request()
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return readForm(c)
	}
	r.Body = http.MaxBytesReader(c.Response().Writer, r.Body, uploadLimit)
	r.PostForm, err = formParts(multipart.NewReader(r.Body, params["boundary"]))
	r.Form = r.PostForm
	return err
}

func formParts(in *multipart.Reader) (url.Values, error) {
	form := url.Values{}
	for range uploadParts {
		part, err := in.NextPart()
		if errors.Is(err, io.EOF) {
			return form, nil
		}
		if err != nil {
			return nil, formUnread(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return nil, formUnread(err)
		}
		form.Add(part.FormName(), string(text))
	}
	return nil, problem.New(problem.TooLarge, "too_large", "The form has more than %d fields. Nothing was changed.", uploadParts)
}
