package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/auth"
	"countersign/identity"
	"countersign/web"
)

// keyWords says what the purposes of signing keys are, in the words of the page.
var keyWords = map[auth.Purpose][2]string{
	auth.ForRoot:       {"Root", "Signs the list of the others, and nothing else"},
	auth.ForPolicy:     {"Policy", "Signs what gateways enforce"},
	auth.ForToken:      {"Tokens", "Signs the access tokens of gateways and clients"},
	auth.ForCheckpoint: {"Checkpoints", "Signs the audit log, so that a change of it shows"},
	auth.ForBundle:     {"OPA bundles", "Signs the policy for gateways built on OPA"},
}

// keysPage lists the signing keys. Nothing of it can be changed here: rotating one is the command's.
func (s *Server) keysPage(c echo.Context, who identity.Principal) error {
	keys, err := s.auth.Keyring().Keys(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view := web.Keys{}
	places := map[auth.Purpose]int{}
	for _, k := range keys {
		at, known := places[k.Purpose]
		if !known {
			at = len(view.Groups)
			places[k.Purpose] = at
			words := keyWords[k.Purpose]
			view.Groups = append(view.Groups, web.KeyGroup{Purpose: words[0], Means: words[1]})
		}
		if k.Purpose == auth.ForRoot && k.State == auth.KeyActive {
			view.Root = k.ID
		}
		view.Groups[at].Keys = append(view.Groups[at].Keys, web.KeyLine{
			ID: k.ID, Algorithm: k.Algorithm, State: string(k.State), CreatedAt: k.CreatedAt, ActiveAt: k.ActivatedAt, RetiredAt: k.RetiredAt,
			NextAt: k.ActivatesAt, EndsAt: k.RetiresAt,
		})
	}
	return render(c, http.StatusOK, web.KeysPage(s.page(c, who, "Signing keys", "/policy"), view))
}
