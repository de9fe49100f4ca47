package server

import (
	"encoding/json"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

// historyOperations say what was in force when, who moved it, and what going back would do. People go back, in the
// console.
func (s *Server) historyOperations() []operation {
	read := machine(identity.ReadPolicy)
	return []operation{
		{get, "/v1/policy/moves", read, "How the policy moved: its generations, newest first, and who made each.", lists(s.listMoves)},
		{get, "/v1/policy/revisions", read, "The published policies, newest first.", lists(s.listRevisions)},
		{get, "/v1/policy/revisions/:revision", read, "A published policy, with its document.", asks(s.readRevision)},
		{get, "/v1/policy/revisions/:revision/diff", read, "What a revision changed: who gained and lost, and which rules.", asks(s.readDiff)},
		{get, "/v1/policy/rollback", read, "What it would take to make the rules what they were. A person does it, in the console.", asks(s.readRollback)},
	}
}

type moveJSON struct {
	Revision   int64     `json:"revision" doc:"The generation."`
	At         time.Time `json:"at"`
	Kind       string    `json:"kind,omitempty" doc:"Of the audit event that moved it; not there if the policy was compiled anew, or history begins here."`
	By         string    `json:"by,omitempty" doc:"The id of who did it."`
	ByName     string    `json:"by_name,omitempty"`
	Target     string    `json:"target,omitempty" doc:"The id of what it was done to."`
	TargetKind string    `json:"target_kind,omitempty"`
	TargetName string    `json:"target_name,omitempty"`
}

func moveOf(m registry.Move) moveJSON {
	return moveJSON{
		Revision: m.Generation, At: m.At, Kind: m.Kind, By: m.ActorID, ByName: m.ActorName,
		Target: m.TargetID, TargetKind: m.TargetKind, TargetName: m.TargetName,
	}
}

func movesOf(from []registry.Move) []moveJSON {
	out := make([]moveJSON, len(from))
	for i, m := range from {
		out[i] = moveOf(m)
	}
	return out
}

func (s *Server) listMoves(c echo.Context, who identity.Principal, q paging) (registry.Page[moveJSON], error) {
	page, err := s.registry.Moves(c.Request().Context(), who, q.After, q.Limit)
	return registry.Page[moveJSON]{Items: movesOf(page.Items), Next: page.Next}, err
}

type pastJSON struct {
	ID           string     `json:"id" doc:"Within its audience, as e1.r42."`
	Audience     string     `json:"audience"`
	AudienceName string     `json:"audience_name"`
	Epoch        int64      `json:"epoch"`
	Revision     int64      `json:"revision" doc:"The generation that it says."`
	Digest       string     `json:"digest" doc:"Of the document."`
	Bytes        int        `json:"bytes"`
	Kid          string     `json:"kid" doc:"Of the key that signed it."`
	PublishedAt  time.Time  `json:"published_at"`
	Before       string     `json:"before,omitempty" doc:"The id of the revision before; not there for the first."`
	Moves        []moveJSON `json:"moves" doc:"The last moves since the revision before, newest first. Not all of them concern this audience."`
	MoreMoves    int64      `json:"more_moves,omitempty" doc:"How many are left out."`
}

func pastOf(p delivery.PastRevision) pastJSON {
	out := pastJSON{
		ID: p.ID().String(), Audience: p.AudienceID, AudienceName: p.AudienceName, Epoch: p.Epoch, Revision: p.ID().Revision,
		Digest: p.Digest.String(), Bytes: p.Bytes, Kid: p.Kid, PublishedAt: p.PublishedAt, Moves: movesOf(p.Moves), MoreMoves: p.MoreMoves,
	}
	if p.Before != (delivery.RevisionID{}) {
		out.Before = p.Before.String()
	}
	return out
}

type revisionsQuery struct {
	Audience string `query:"audience" doc:"Only those of this one."`
	paging
}

func (s *Server) listRevisions(c echo.Context, who identity.Principal, q revisionsQuery) (registry.Page[pastJSON], error) {
	found, err := s.delivery.History(c.Request().Context(), who, q.Audience, q.After, q.Limit)
	page := registry.Page[pastJSON]{Next: found.Next}
	for _, p := range found.Items {
		page.Items = append(page.Items, pastOf(p))
	}
	return page, err
}

type audienceQuery struct {
	Audience string `query:"audience" doc:"Whose revision. Needed."`
}

// editionJSON is a revision with its document.
type editionJSON struct {
	pastJSON
	Document json.RawMessage `json:"document" doc:"As it was served."`
}

func (s *Server) readRevision(c echo.Context, who identity.Principal, q audienceQuery) (*editionJSON, error) {
	id, err := revisionID(c.Param("revision"))
	if err != nil {
		return nil, err
	}
	past, err := s.delivery.Past(c.Request().Context(), who, q.Audience, id)
	if err != nil {
		return nil, err
	}
	document, err := s.delivery.Document(c.Request().Context(), who, q.Audience, id.Epoch, id.Revision)
	return &editionJSON{pastOf(past), document}, err
}

func revisionID(s string) (delivery.RevisionID, error) {
	id, ok := delivery.ParseRevisionID(s)
	if !ok {
		return id, problem.New(problem.NotFound, "no_such_revision", "There is no such revision. They are called as e1.r42.")
	}
	return id, nil
}

type diffQuery struct {
	audienceQuery
	From string `query:"from" doc:"The revision to compare with; the one before, unless given."`
}

// diffJSON is what one revision says otherwise than another.
type diffJSON struct {
	From      string                `json:"from" doc:"Empty: this is the first revision, and everything is new."`
	To        string                `json:"to"`
	Sentences []policy.Sentence     `json:"sentences"`
	More      int                   `json:"more,omitempty" doc:"Sentences that are left out."`
	Changes   policy.Changes        `json:"changes" doc:"The same as data."`
	Rules     []registry.RuleChange `json:"rules" doc:"The grants and guardrails that changed, with their fields."`
	Forgotten bool                  `json:"forgotten,omitempty" doc:"The rules are not known: one of the two is older than their history."`
}

func (s *Server) readDiff(c echo.Context, who identity.Principal, q diffQuery) (*diffJSON, error) {
	ctx := c.Request().Context()
	to, err := revisionID(c.Param("revision"))
	if err != nil {
		return nil, err
	}
	var from delivery.RevisionID
	if q.From != "" {
		if from, err = revisionID(q.From); err != nil {
			return nil, err
		}
	} else {
		past, err := s.delivery.Past(ctx, who, q.Audience, to)
		if err != nil {
			return nil, err
		}
		from = past.Before
	}
	return said(diffOf)(s.delivery.Compare(ctx, who, q.Audience, from, to))
}

func diffOf(c delivery.Comparison) diffJSON {
	out := diffJSON{
		To: c.To.ID().String(), Sentences: orNone(c.Sentences), More: c.More, Changes: c.Changes, Rules: orNone(c.Rules), Forgotten: c.Forgotten,
	}
	if c.From.AudienceID != "" {
		out.From = c.From.ID().String()
	}
	return out
}

type rollbackQuery struct {
	Revision int `query:"revision" max:"9007199254740991" doc:"The generation to go back to. Needed."`
}

func (s *Server) readRollback(c echo.Context, who identity.Principal, q rollbackQuery) (*registry.Plan, error) {
	plan, err := s.registry.PlanRollback(c.Request().Context(), who, int64(q.Revision))
	return &plan, err
}
