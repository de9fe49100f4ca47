package server

import "countersign/identity"

// policyPagesRoutes are the pages about the policy as a whole.
func (s *Server) policyPagesRoutes() []route {
	return []route{
		{get, "/policy", person(identity.ReadPolicy), s.policyPage},
		{get, "/policy/revisions", person(identity.ReadPolicy), s.revisionsPage},
		{get, "/policy/revisions/:revision", person(identity.ReadPolicy), s.revisionPage},
		{get, "/policy/revisions/:revision/document", person(identity.ReadPolicy), s.revisionDocument},
		{get, "/policy/revisions/:revision/rollback", person(identity.ChangeGrant), s.rollbackPage},
		{post, "/policy/revisions/:revision/rollback", person(identity.ChangeGrant), s.rollBack},
		{get, "/policy/explain", person(identity.ReadPolicy), s.explainPage},
		{post, "/policy/explain", person(identity.ReadPolicy), s.explainPage},
		{get, "/policy/tests", person(identity.ReadPolicy), s.policyTestsPage},
		{get, "/policy/tests/new", person(identity.ChangeGrant), s.newPolicyTestPage},
		{get, "/policy/tests/:id/edit", person(identity.ChangeGrant), s.editPolicyTestPage},
		{post, "/policy/tests", person(identity.ChangeGrant), s.savePolicyTest},
		{post, "/policy/tests/:id/end", person(identity.ChangeGrant), s.endPolicyTest},
		{get, "/policy/access", person(identity.ReadPolicy), s.accessPage},
		{get, "/policy/access.csv", person(identity.ReadPolicy), s.accessCSV},
		{get, "/policy/rollout/:generation", person(identity.ReadGateways), s.rolloutPage},
		{get, "/policy/keys", person(identity.ReadGateways), s.keysPage},
		{get, "/policy/suspensions", person(identity.ReadPolicy), s.suspensionsPage},
		{post, "/policy/suspensions", person(identity.ReadPolicy), s.suspend},
		{post, "/policy/suspensions/:id/lift", person(identity.ChangeGrant), s.liftSuspension},
	}
}
