package server

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// csvFile is a list on its way to a spreadsheet, written row by row.
type csvFile struct {
	w *csv.Writer
}

// newCSV begins a file that is offered for saving under a name of ours.
func newCSV(c echo.Context, name string, columns ...string) *csvFile {
	h := c.Response().Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="countersign-%s.csv"`, name))
	c.Response().WriteHeader(http.StatusOK)
	f := &csvFile{w: csv.NewWriter(c.Response())}
	f.w.UseCRLF = true
	f.row(columns...)
	return f
}

// row writes one row; a mistake in writing is told by done.
func (f *csvFile) row(cells ...string) {
	safe := make([]string, len(cells))
	for i, cell := range cells {
		safe[i] = cellText(cell)
	}
	_ = f.w.Write(safe) // kept by the writer, and told by done
}

// done ends the file. The reader may have gone, which is no failure of ours.
func (f *csvFile) done() error {
	f.w.Flush()
	return nil
}

// broken ends the file in the middle. The answer has begun, so that a last row has to say that it is not whole;
// the error is for the log.
func (f *csvFile) broken(err error) error {
	f.row("THIS FILE IS NOT COMPLETE: the list could not be read to its end.")
	f.w.Flush()
	return fmt.Errorf("writing a CSV file: %w", err)
}

// cellText is text that a spreadsheet takes for text. What begins like a formula would be one there, whoever wrote it:
// an apostrophe before it says that it is none. A tab or a line break at the beginning hides such a beginning.
func cellText(s string) string {
	if strings.IndexAny(s, "=+-@\t\r\n＝＋－＠") == 0 {
		return "'" + s
	}
	return s
}
