package server

import (
	"context"
	"encoding/json"

	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

// review is the form for what the owner has not accepted yet, the first of it; nil when there is nothing. What
// changed comes before what is new.
func (s *Server) review(ctx context.Context, who identity.Principal, server registry.Server, errs web.Errors) (*web.Review, error) {
	review := &web.Review{ServerID: server.ID, Server: server.Name, MayPin: who.Can(identity.PinDefinition, server.TeamID) == nil, Errors: errs}
	for _, only := range []string{"held", "pending"} {
		for f := (registry.ToolFilter{ServerID: server.ID, Only: only, Limit: 2 * toolsToPin}); ; {
			tools, err := s.registry.Tools(ctx, who, f)
			if err != nil {
				return nil, err
			}
			addToReview(review, tools.Items)
			if f.After = tools.Next; f.After == "" || len(review.Items) >= toolsToPin {
				break
			}
		}
	}
	review.More = max(0, server.Held+server.Pending-len(review.Items))
	if len(review.Items) == 0 {
		return nil, nil //nolint:nilnil // nothing to review is no error
	}
	return review, nil
}

// addToReview takes of these what waits. What cannot be pinned anyway must not keep the rest from being seen.
func addToReview(review *web.Review, tools []registry.Tool) {
	blocked := 0
	for _, t := range tools {
		switch {
		case !waits(t) || len(review.Items) >= toolsToPin:
		case t.Served.Blocked() && blocked >= blockedToShow:
		default:
			review.Items = append(review.Items, reviewItem(t))
		}
		if waits(t) && t.Served.Blocked() {
			blocked++
		}
	}
}

// waits says whether what is served could be accepted.
func waits(t registry.Tool) bool {
	return t.Served != nil && (t.Pinned == nil || t.Held()) && t.Served.State != registry.Rejected
}

func reviewItem(t registry.Tool) web.ReviewItem {
	text := t.Served.Text()
	item := web.ReviewItem{
		DefinitionID: t.Served.ID, ToolID: t.ID, Kind: string(t.Kind), Name: t.Name, Description: text.Description, Risk: string(t.Served.ProposedRisk),
		Claimed: claimed(text.Annotations, t.Kind), Number: t.Served.Number, Held: t.Held(), Blocked: t.Served.Blocked(), Raw: t.Served.Raw,
		Checked: !t.Held(), // what changed is ticked by a person who has looked
	}
	if t.Risk != "" {
		item.Risk = string(t.Risk)
	}
	for _, f := range t.Served.Findings {
		item.Findings = append(item.Findings, web.Finding{Message: f.Message, Where: f.Where, Blocks: f.Blocks})
	}
	return item
}

// claimed is what the server says about its own tool.
func claimed(annotations json.RawMessage, kind policy.Kind) string {
	if kind != policy.KindTool {
		return "Prompts and resources are read"
	}
	var hints struct {
		ReadOnly    *bool `json:"readOnlyHint"`
		Destructive *bool `json:"destructiveHint"`
	}
	_ = json.Unmarshal(annotations, &hints) // absent or broken: no hints
	switch {
	case hints.ReadOnly != nil && *hints.ReadOnly:
		return "Server says read-only"
	case hints.Destructive != nil && !*hints.Destructive:
		return "Server says not destructive"
	case hints.Destructive != nil:
		return "Server says destructive"
	}
	return "No hints, so destructive"
}
