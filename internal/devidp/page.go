package devidp

import (
	"bytes"
	_ "embed"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

//go:embed pages.html
var pagesHTML string

//go:embed devidp.css
var stylesheetCSS []byte

var pages = template.Must(template.New("pages").Parse(pagesHTML))

// pageData is what the pages show. Each page uses some of it.
type pageData struct {
	Client  string
	Query   template.URL // the request's own query, encoded anew, which the form sends back
	Again   bool         // the client wants a fresh sign-in
	MFA     bool         // the client wants a second factor
	Person  string
	People  []personView
	Problem string
}

type personView struct {
	Person
	Initials string
}

func (p *Provider) showPeople(w http.ResponseWriter, r *http.Request, req authorizeRequest) {
	// Browsers apply form-action to the redirect that answers the form as well.
	w.Header().Set("Content-Security-Policy", contentSecurityPolicy(origin(req.redirectURI)))
	s, signedIn := p.currentSession(r)
	p.show(w, r, http.StatusOK, "people", pageData{
		Client: req.client.name(), Query: encodedQuery(r), People: p.views(), Again: signedIn, Person: s.subject,
		MFA: slices.Contains(req.acrValues, ClassMFA),
	})
}

// encodedQuery is safe in a URL, because it holds nothing but what the encoder wrote.
func encodedQuery(r *http.Request) template.URL {
	return template.URL(r.URL.Query().Encode()) //nolint:gosec // the encoder lets nothing through that ends an attribute
}

func (p *Provider) home(w http.ResponseWriter, r *http.Request) {
	p.show(w, r, http.StatusOK, "home", pageData{People: p.views()})
}

func (p *Provider) showProblem(w http.ResponseWriter, r *http.Request, status int, problem string) {
	p.show(w, r, status, "problem", pageData{Problem: problem})
}

func (p *Provider) showFault(w http.ResponseWriter, r *http.Request, err error) {
	p.log.ErrorContext(r.Context(), "sign-in broke", slog.Any("error", err))
	p.showProblem(w, r, http.StatusInternalServerError, "Something is wrong with the identity provider. Its log says what.")
}

func (p *Provider) show(w http.ResponseWriter, r *http.Request, status int, page string, data pageData) {
	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, page, data); err != nil {
		p.log.ErrorContext(r.Context(), "rendering a page broke", slog.String("page", page), slog.Any("error", err))
		http.Error(w, "The page could not be rendered.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // the browser went away
}

func (p *Provider) stylesheet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(stylesheetCSS) // the browser went away
}

func (p *Provider) views() []personView {
	var views []personView
	for _, person := range p.people {
		views = append(views, personView{Person: person, Initials: initials(person.Name)})
	}
	return views
}

// initials of "Priya Nair" are PN.
func initials(name string) string {
	var out []rune
	for word := range strings.FieldsSeq(name) {
		if len(out) < 2 {
			out = append(out, []rune(word)[0])
		}
	}
	return strings.ToUpper(string(out))
}

// secured puts the headers of a page that must not be framed, cached or scripted.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy(""))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func contentSecurityPolicy(formTarget string) string {
	policy := "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
	if formTarget != "" {
		policy += " " + formTarget
	}
	return policy
}

// origin is the origin of a registered redirect URI.
func origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
