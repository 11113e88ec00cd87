package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/http"
	"strings"
)

//go:embed templates static
var files embed.FS

// templates has one set for each page: the layout and the page.
var templates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	layout := template.Must(template.New("").Funcs(template.FuncMap{
		"field": newField, "choose": newChooser, "size": formatSize, "count": formatCount,
	}).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	pages, err := files.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	sets := make(map[string]*template.Template)
	for _, p := range pages {
		name := strings.TrimSuffix(p.Name(), ".html")
		sets[name] = template.Must(template.Must(layout.Clone()).ParseFS(files, "templates/"+p.Name()))
	}
	return sets
}

// field is what the template of a field gets.
type field struct {
	Name, Value, Error, Hint string
}

// newField returns a field of a form.
func newField(f form, name, hint string) field {
	return field{name, f.Values[name], f.Errors[name], hint}
}

// chooser is what the template of a list gets.
type chooser struct {
	field
	Choices []choice
}

func newChooser(f field, choices []choice) chooser { return chooser{f, choices} }

// DescribedBy returns the ids of the texts that belong to the field.
func (f field) DescribedBy() string {
	var ids []string
	if f.Hint != "" {
		ids = append(ids, f.Name+"-hint")
	}
	if f.Error != "" {
		ids = append(ids, f.Name+"-error")
	}
	return strings.Join(ids, " ")
}

// layout is what the frame of every page gets.
type layout struct {
	Base   string // begins the paths of links
	Page   string // the name of the template
	Signed bool   // the browser has signed in
	Doctor bool   // there is a doctor
	Token  string // of the form that signs it out
	Live   string // where the events of the page are; empty if it has none
	Notice notice
	Body   any
}

// page is one that is kept up to date while somebody looks at it.
type page struct {
	name string
	// view returns what the template shows. Equal views look the same.
	view func(*visit) (view any, ok bool)
}

// handlePage adds a page and the events that say when it looks different.
func (c *Console) handlePage(mux *http.ServeMux, path, events string, p page) {
	c.handleVisit(mux, "GET "+path, func(v *visit) {
		view, ok := p.view(v)
		if !ok {
			v.renderMissing()
			return
		}
		live := strings.ReplaceAll(events, "{name}", v.r.PathValue("name"))
		v.render(http.StatusOK, p.name, c.prefix+live+"?from="+digestView(view), view)
	})
	c.handleVisit(mux, "GET "+events, func(v *visit) { v.streamEvents(p) })
}

// digestView returns a text that differs for different views.
func digestView(view any) string {
	text, err := json.Marshal(view)
	if err != nil {
		panic(err) // views are plain values
	}
	h := fnv.New128a()
	h.Write(text)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// render answers with a page for a browser that has signed in.
func (v *visit) render(status int, name, live string, body any) {
	l := layout{Base: v.c.prefix, Page: name, Signed: true, Doctor: v.c.cfg.Doctor != nil, Token: v.session.newToken(), Live: live, Body: body}
	if v.r.Header.Get(liveHeader) == "" {
		l.Notice = v.session.takeNotice()
	}
	v.c.writePage(v.w, status, l)
}

// renderForm answers with a page that has a form, which may have faults.
func (v *visit) renderForm(f form, name string, body any) { v.render(f.status(), name, "", body) }

func (v *visit) renderMessage(status int, title, text string) {
	v.render(status, "message", "", messagePage{title, text})
}

func (v *visit) renderMissing() {
	v.renderMessage(http.StatusNotFound, "There is no such server", "It may have been deleted, here or in another window.")
}

// messagePage says one thing.
type messagePage struct{ Title, Text string }

// welcomePage tells a stranger how to sign in.
type welcomePage struct{ KeyUsed bool }

// openedPage leads from a one-time key to the first page.
type openedPage struct{ To string }

// renderPlain answers with a page for a browser that has not signed in. It does not have the
// prefix in it.
func (c *Console) renderPlain(w http.ResponseWriter, status int, name string, body any) {
	c.writePage(w, status, layout{Page: name, Body: body})
}

func (c *Console) writePage(w http.ResponseWriter, status int, l layout) {
	var b bytes.Buffer
	if err := templates[l.Page].ExecuteTemplate(&b, "layout", l); err != nil {
		c.log.Error("cannot show a page of the console", "page", l.Page, "error", err)
		http.Error(w, "The page cannot be shown. The log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes()) //nolint:errcheck // the browser has gone
}

// serveStatic serves style, script and icon, which are the same for everybody.
func serveStatic() http.Handler {
	serve := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") { // no list of files
			http.NotFound(w, r)
			return
		}
		serve.ServeHTTP(w, r)
	})
}
