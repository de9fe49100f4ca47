package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

// rolloutPage shows how far a change of the policy has come, gateway by gateway.
func (s *Server) rolloutPage(c echo.Context, who identity.Principal) error {
	generation, err := readGeneration(c.Param("generation"))
	if err != nil {
		return err
	}
	effects, err := s.delivery.Reach(c.Request().Context(), who, generation)
	if err != nil {
		return err
	}
	view := web.Rollout{Generation: generation, At: &effects.Since, Lines: effectLines(effects)}
	if move, known := s.moveOf(c, who, generation); known {
		view.What, view.By = moveWords(move), move.ActorName
		if strings.HasSuffix(move.Kind, ".suspended") && move.Kind != "server.suspended" {
			view.Undo, view.UndoWords = "/policy/suspensions", "Open suspensions"
		}
	}
	page := s.page(c, who, "Rollout", "/policy")
	page.Focus = !view.Done()
	return render(c, http.StatusOK, web.RolloutPage(page, view))
}

func readGeneration(text string) (int64, error) {
	generation, err := strconv.ParseInt(text, 10, 32) // no registry moves two thousand million times
	if err != nil || generation < 0 {
		return 0, problem.New(problem.NotFound, "no_such_generation", "Nothing is known of such a change of the policy.")
	}
	return generation, nil
}

// moveOf is who changed what; false when that is not known, or not for the reader.
func (s *Server) moveOf(c echo.Context, who identity.Principal, generation int64) (registry.Move, bool) {
	moves, err := s.registry.Moves(c.Request().Context(), who, strconv.FormatInt(generation+1, 10), 1)
	if err != nil || len(moves.Items) == 0 || moves.Items[0].Generation != generation {
		return registry.Move{}, false
	}
	return moves.Items[0], true
}

// moveWords says in a sentence what moved the policy.
func moveWords(m registry.Move) string {
	name := m.TargetName
	if name == "" {
		name = m.TargetID
	}
	switch m.Kind {
	case "":
		return "The policy was compiled anew"
	case "grant.created":
		return "The grant “" + name + "” was given"
	case "guardrail.created":
		return "The guardrail “" + name + "” was made"
	case "rules.rolled_back", "policy.rolled_back":
		return "The rules were rolled back"
	}
	what, deed, _ := strings.Cut(m.Kind, ".")
	deed = strings.NewReplacer(".", " ", "_", " ").Replace(deed)
	what = strings.ReplaceAll(what, "_", " ")
	return "The " + what + " “" + name + "” was " + deed
}

// effectLines are gateways, and how far each is with a change.
func effectLines(effects delivery.Effects) []web.EffectLine {
	var lines []web.EffectLine
	for _, e := range effects.Gateways {
		line := web.EffectLine{ID: e.Gateway.ID, Name: e.Gateway.Name, State: string(e.State), Why: e.Reason, Carries: e.Carries, Took: e.Took, AtMost: e.AtMost}
		if len(e.Gateway.Instances) > 0 {
			seen := e.Gateway.Instances[0].LastSeenAt
			line.SeenAt = &seen
		}
		lines = append(lines, line)
	}
	return lines
}

// doneInForce is done, with the way to watch the change reach the gateways. Without a generation, or for who may not see
// gateways, there is none.
func (s *Server) doneInForce(c echo.Context, to, flash string, generation int64) error {
	if generation > 0 && principal(c).Can(identity.ReadGateways, "") == nil {
		flash += flashSeparator + strconv.FormatInt(generation, 10)
	}
	return s.done(c, to, flash)
}

// flashSeparator stands between what was done and the generation of the policy that says so. No text of people holds it.
const flashSeparator = "\x00"

// flashOf takes apart what was just done: the words, and the address where it is watched.
func flashOf(text string) (words, address string) {
	words, generation, found := strings.Cut(text, flashSeparator)
	if _, err := strconv.ParseInt(generation, 10, 64); !found || err != nil {
		return words, ""
	}
	return words, "/policy/rollout/" + generation
}

// markOf is what differs when a rollout has moved.
func markOf(effects delivery.Effects) string {
	var marks []string
	for _, e := range effects.Gateways {
		marks = append(marks, e.Gateway.ID+"-"+string(e.State)+"-"+strconv.FormatInt(e.Carries, 10)+"-"+e.Took.Round(time.Millisecond).String())
	}
	return strings.Join(marks, " ")
}
