-- For development only: what came with the second schema is lost.
revoke delete on team_members from countersign_runtime;
drop index calls_of_tool;
drop table idempotency_keys, risk_proposals, server_versions;
alter table api_clients drop column roles, drop column team_id;
drop trigger grants_key on grants;
drop trigger guardrails_key on guardrails;
alter table grants drop column key;
alter table guardrails drop column key;
drop function key_is_id();
drop index tools_held;
alter table tools drop column skeleton, drop column severity, drop column held_note, drop column held_note_by, drop column held_note_at;
alter table endpoints drop column looked_at;
alter table definitions drop column tokens;
alter table servers drop column state_generation, drop column state_at;
alter table gateway_instances drop column active_at;
