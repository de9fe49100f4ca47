package server

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/desired"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

const revisionsOfPage = 25

// revisionsPage is the history of one audience's policy.
func (s *Server) revisionsPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	audiences, err := s.delivery.Audiences(ctx, who)
	if err != nil {
		return err
	}
	view := web.Revisions{Audience: c.QueryParam("audience")}
	inForce := map[string]delivery.RevisionID{}
	for _, a := range audiences {
		if view.Audience == "" {
			view.Audience = a.ID
		}
		inForce[a.ID] = delivery.RevisionID{Epoch: a.Epoch, Revision: a.Revision}
		view.Audiences = append(view.Audiences, web.Option{Value: a.ID, Label: a.Name, Selected: a.ID == view.Audience})
	}
	if view.Audience != "" {
		page, err := s.delivery.History(ctx, who, view.Audience, c.QueryParam("after"), revisionsOfPage)
		if err != nil {
			return err
		}
		for _, r := range page.Items {
			view.Lines = append(view.Lines, revisionLine(r, inForce[r.AudienceID]))
		}
		view.First, view.Next = turn("/policy/revisions", url.Values{"audience": {view.Audience}}, c.QueryParam("after"), page.Next)
	}
	return render(c, http.StatusOK, web.RevisionsPage(s.page(c, who, "Revisions", "/policy"), view))
}

func revisionLine(r delivery.PastRevision, inForce delivery.RevisionID) web.RevisionLine {
	line := web.RevisionLine{
		Number: r.Revision.Revision, Epoch: r.Epoch, At: r.PublishedAt, InForce: r.ID() == inForce, Address: revisionAddress(r.AudienceID, r.ID()),
		Summary: "The first policy of this audience",
	}
	if len(r.Moves) > 0 {
		line.Summary, line.By = moveWords(r.Moves[0]), r.Moves[0].ActorName
		if more := int64(len(r.Moves)-1) + r.MoreMoves; more > 0 {
			line.Summary += fmt.Sprintf(", and %d more", more)
		}
	} else if r.Before != (delivery.RevisionID{}) {
		line.Summary = "The policy was compiled anew"
	}
	return line
}

func revisionAddress(audience string, id delivery.RevisionID) string {
	return "/policy/revisions/" + id.String() + "?" + url.Values{"audience": {audience}}.Encode()
}

// revisionOf is the revision that the address names.
func revisionOf(c echo.Context) (delivery.RevisionID, error) {
	id, ok := delivery.ParseRevisionID(c.Param("revision"))
	if !ok {
		return id, problem.New(problem.NotFound, "no_such_revision", "There is no such revision.")
	}
	return id, nil
}

// audienceOf is the audience that the address names; the first one when it names none.
func (s *Server) audienceOf(c echo.Context, who identity.Principal) (string, error) {
	if audience := c.QueryParam("audience"); audience != "" {
		return audience, nil
	}
	audiences, err := s.delivery.Audiences(c.Request().Context(), who)
	if err != nil || len(audiences) == 0 {
		return "", err
	}
	return audiences[0].ID, nil
}

// revisionPage is one revision, compared with the one before it or with any other.
func (s *Server) revisionPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	id, err := revisionOf(c)
	if err != nil {
		return err
	}
	audience, err := s.audienceOf(c, who)
	if err != nil {
		return err
	}
	past, err := s.delivery.Past(ctx, who, audience, id)
	if err != nil {
		return err
	}
	from := past.Before
	if text := c.QueryParam("from"); text != "" {
		var ok bool
		if from, ok = delivery.ParseRevisionID(text); !ok {
			return problem.New(problem.NotFound, "no_such_revision", "There is no such revision to compare with.")
		}
	}
	compared, err := s.delivery.Compare(ctx, who, audience, from, id)
	if err != nil {
		return err
	}
	view := web.RevisionPage{
		ID: id.String(), Audience: audience, Name: past.AudienceName, Number: id.Revision, Epoch: id.Epoch, Against: from.Revision, At: past.PublishedAt,
		Digest: past.Digest.String(), KeyID: past.Kid, Bytes: past.Bytes, Forgotten: compared.Forgotten,
		JSON: "/policy/revisions/" + id.String() + "/document?" + url.Values{"audience": {audience}}.Encode(), MayBack: who.Can(identity.ChangeGrant, "") == nil,
	}
	view.Sentences, view.More = sentenceViews(compared.Sentences, compared.More)
	for _, r := range compared.Rules {
		view.Rules = append(view.Rules, ruleChangeView(who, r))
	}
	if from == past.Before {
		for _, m := range past.Moves {
			view.Moves = append(view.Moves, web.KV{Name: moveWords(m), Value: m.ActorName})
		}
		view.MoreMoves = past.MoreMoves
	}
	if who.Can(identity.ReadGateways, "") == nil {
		view.Rollout = fmt.Sprintf("/policy/rollout/%d", id.Revision)
	}
	if err := s.otherRevisions(c, who, past, from, &view); err != nil {
		return err
	}
	return render(c, http.StatusOK, web.OneRevisionPage(s.page(c, who, fmt.Sprintf("Revision %d", id.Revision), "/policy"), view))
}

// otherRevisions are those to compare with, the last ones and the one that is compared with now.
func (s *Server) otherRevisions(c echo.Context, who identity.Principal, past delivery.PastRevision, from delivery.RevisionID, view *web.RevisionPage) error {
	page, err := s.delivery.History(c.Request().Context(), who, past.AudienceID, "", 50)
	if err != nil {
		return err
	}
	found := from == delivery.RevisionID{}
	for i, r := range page.Items {
		if r.ID() == past.ID() {
			view.InForce = i == 0
			continue
		}
		found = found || r.ID() == from
		view.Others = append(view.Others, web.Option{Value: r.ID().String(), Label: revisionLabel(r.ID(), past.Epoch), Selected: r.ID() == from})
	}
	if !found {
		view.Others = append(view.Others, web.Option{Value: from.String(), Label: revisionLabel(from, past.Epoch), Selected: true})
	}
	return nil
}

func revisionLabel(id delivery.RevisionID, epoch int64) string {
	if id.Epoch != epoch {
		return fmt.Sprintf("%d in epoch %d", id.Revision, id.Epoch)
	}
	return fmt.Sprint(id.Revision)
}

func ruleChangeView(who identity.Principal, r registry.RuleChange) web.RuleChange {
	view := web.RuleChange{Kind: r.What, Name: r.Name, Tone: changeTone(r.Kind), By: r.By, Fields: fieldChanges(r.Fields)}
	if r.Kind != registry.Ends {
		view.Address = ruleAddress(who, r.ID)
	}
	if r.Emergency {
		view.Note, view.Address = "A suspension.", "/policy/suspensions"
	}
	return view
}

func changeTone(kind registry.ChangeKind) string {
	return map[registry.ChangeKind]string{registry.Adds: "added", registry.Ends: "ended", registry.Changes: "changed"}[kind]
}

func fieldChanges(fields []desired.Difference) []web.FieldChange {
	var changes []web.FieldChange
	for _, f := range fields {
		changes = append(changes, web.FieldChange{Name: sentence(f.Name), Before: f.Before, After: f.After})
	}
	return changes
}

// revisionDocument is the document of a revision, byte for byte as it was signed.
func (s *Server) revisionDocument(c echo.Context, who identity.Principal) error {
	id, err := revisionOf(c)
	if err != nil {
		return err
	}
	audience, err := s.audienceOf(c, who)
	if err != nil {
		return err
	}
	document, err := s.delivery.Document(c.Request().Context(), who, audience, id.Epoch, id.Revision)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="countersign-policy-%s.json"`, id))
	return c.Blob(http.StatusOK, "application/json", document)
}
