-- For development only: it drops every table, and with them the audit log.
drop table if exists confirmations, votes, approvals, calls, revisions, gateway_instances, gateways, audiences, guardrails, grants,
  discoveries, definitions, tools, endpoints, servers, team_members, teams, signing_keys, api_clients, signins, sessions, people,
  audit_events, registry_head cascade;
drop function if exists confirmation_moves_forward, definition_stays, audience_sees, refuse_leaving_terminal, refuse_change, audit_append, new_id;
