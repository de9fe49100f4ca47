package server

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

// Importing is two forms on one address. Nothing is kept in between: the preview carries the text along, and what it
// proposes is read and checked again.
func (s *Server) importRoutes() []route {
	return []route{
		{get, "/servers/import", person(identity.RegisterServer), s.importPage},
		{post, "/servers/import", upload(identity.RegisterServer), s.importServers},
	}
}

func (s *Server) importPage(c echo.Context, who identity.Principal) error {
	return s.showImport(c, who, http.StatusOK, web.Import{})
}

func (s *Server) importServers(c echo.Context, who identity.Principal) error {
	form := c.Request().PostForm
	text := listing(form)
	if form.Get("do") == "edit" {
		return s.showImport(c, who, http.StatusOK, web.Import{Text: text})
	}
	entries, err := s.readListing(c, who, text)
	if err != nil {
		return s.listingRefused(c, who, text, err)
	}
	picks := newPicks(entries, form)
	if form.Get("do") != "propose" {
		return s.showPicks(c, who, http.StatusOK, text, picks, nil)
	}
	proposals, err := s.registry.Propose(c.Request().Context(), who, picks.manifests(), form.Get("team"))
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		return s.showPicks(c, who, status, text, picks, errs)
	}
	return s.proposed(c, proposals)
}

// listing is what was pasted, or what stands in the file, which goes first. A field of a page has other ends of lines
// than what was pasted into it.
func listing(form url.Values) string {
	text := form.Get("file")
	if text == "" {
		text = form.Get("text")
	}
	return strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
}

func (s *Server) readListing(c echo.Context, who identity.Principal, text string) ([]registry.Entry, error) {
	unreadable := problem.New(problem.Invalid, "manifest_unreadable", "There is nothing to import.")
	if strings.TrimSpace(text) == "" {
		return nil, unreadable.Field("text", "Paste something, or choose a file.")
	}
	entries, err := registry.ReadManifests([]byte(text))
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, unreadable.Field("text", "It lists no server.")
	}
	return entries, s.registry.Recognise(c.Request().Context(), who, entries)
}

// listingRefused shows the text again, and why it cannot be read.
func (s *Server) listingRefused(c echo.Context, who identity.Principal, text string, err error) error {
	p := problem.From(err)
	if p.Kind != problem.Invalid && p.Kind != problem.TooLarge {
		return err
	}
	message := p.Fields["text"]
	if message == "" {
		message = p.Message
	}
	return s.showImport(c, who, p.Kind.Status(), web.Import{Text: text, Errors: web.Errors{"text": message}})
}

func (s *Server) showImport(c echo.Context, who identity.Principal, status int, view web.Import) error {
	return render(c, status, web.ImportPage(s.page(c, who, "Import servers", "/servers"), view))
}

// showPicks is the preview.
func (s *Server) showPicks(c echo.Context, who identity.Principal, status int, text string, picks picks, errs web.Errors) error {
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	own := slices.DeleteFunc(teams, func(t registry.Team) bool { return who.Can(identity.ChangeServer, t.ID) != nil })
	view := web.ImportPreview{Text: text, Teams: teamOptions(own, c.FormValue("team")), Errors: errs, Most: registry.MaxProposed}
	for i, e := range picks.entries {
		view.Entries = append(view.Entries, importEntry(e, i, picks.ticked[i], errs))
	}
	return render(c, status, web.ImportPreviewPage(s.page(c, who, "Import servers", "/servers"), view))
}

// picks are the entries of a listing, and which of them are ticked.
type picks struct {
	entries []registry.Entry
	ticked  []bool
}

// newPicks ticks what the preview sent back. The first preview ticks all that there is to import; of a name that is
// there more than once the latest, since one import takes one version of each.
func newPicks(entries []registry.Entry, form url.Values) picks {
	p := picks{entries, make([]bool, len(entries))}
	count := 0
	for i, e := range entries {
		switch form.Get("do") {
		case "propose":
			p.ticked[i] = len(e.Problems) == 0 && slices.Contains(form["pick"], strconv.Itoa(i))
		case "none":
		default:
			p.ticked[i] = len(e.Problems) == 0 && e.Latest && !e.KnownVersion && e.Status != "deleted" && count < registry.MaxProposed
		}
		if p.ticked[i] {
			count++
		}
	}
	return p
}

func (p picks) manifests() []registry.Manifest {
	var chosen []registry.Manifest
	for i, e := range p.entries {
		if p.ticked[i] {
			chosen = append(chosen, e.Manifest)
		}
	}
	return chosen
}

func importEntry(e registry.Entry, i int, ticked bool, errs web.Errors) web.ImportEntry {
	entry := web.ImportEntry{
		Value: strconv.Itoa(i), Name: e.Name, Title: e.Title, Description: e.Description, Published: e.Version, State: importOutcome(e),
		Problems: e.Problems, Ticked: ticked,
	}
	if ticked {
		entry.Error = errs[e.Name]
	}
	if len(e.Problems) > 0 {
		return entry
	}
	if at, reachable := e.Location(); e.Known == "" && reachable {
		entry.Where = at.URL
	} else if e.Known == "" {
		entry.Notes = append(entry.Notes, "It has no address that a gateway can use as it is. Give it one on its page.")
	}
	if e.Status == "deprecated" || e.Status == "deleted" {
		entry.Notes = append(entry.Notes, "The registry calls it "+e.Status+".")
	}
	if !e.Latest {
		entry.Notes = append(entry.Notes, "There is a later version of it here. One import takes one version of each.")
	}
	return entry
}

// importOutcome is what would become of an entry.
func importOutcome(e registry.Entry) string {
	switch {
	case len(e.Problems) > 0:
		return "refused"
	case e.KnownVersion:
		return string(registry.Unchanged)
	case e.Known != "":
		return string(registry.NewVersion)
	}
	return string(registry.NewServer)
}

// proposed says what became of the servers, where they are.
func (s *Server) proposed(c echo.Context, proposals []registry.Proposal) error {
	count := map[registry.Outcome]int{}
	for _, p := range proposals {
		count[p.Outcome]++
	}
	var parts []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, strconv.Itoa(n)+" "+many)
		}
	}
	add(count[registry.NewServer], "server is proposed", "servers are proposed")
	add(count[registry.NewVersion], "has a new version", "have a new version")
	add(count[registry.Unchanged], "was here already", "were here already")
	to, next := "/servers", ""
	if count[registry.NewServer] > 0 {
		to, next = "/servers?state=proposed", " Nothing was contacted: open one and let a gateway look at it."
	}
	return s.done(c, to, strings.Join(parts, ", ")+"."+next)
}
