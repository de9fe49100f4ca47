-- For development only: what was kept of earlier generations is lost.
drop trigger registry_head_numbers on registry_head;
drop trigger audit_events_note on audit_events;
drop trigger grants_made on grants;
drop trigger grants_changed on grants;
drop trigger guardrails_made on guardrails;
drop trigger guardrails_changed on guardrails;
drop function number_generation(), note_event(), keep_rule_versions();
drop table rule_versions, generations;
drop function rule_version_stays();
alter table guardrails drop column emergency;
drop index people_groups;
alter table revisions drop column rules_generation;
alter table audiences drop column rules_generation;
