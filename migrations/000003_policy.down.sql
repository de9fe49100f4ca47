drop table tool_usage;

drop table policy_tests;

-- For development only: keys of the new purposes are lost.
create or replace function policy_is(p_epoch bigint, p_generation bigint) returns boolean
  language sql volatile
begin atomic
  select exists (select from registry_head where epoch = p_epoch and generation = p_generation);
end;
drop function database_lineage(), move_key_set();
alter table registry_head drop column lineage;
drop table key_set;
drop view signing_keys;
delete from keyring where purpose in ('root', 'bundle') or state = 'next';
drop index keyring_next;
alter table keyring
  drop constraint keyring_purpose, drop constraint keyring_algorithm, drop constraint keyring_state, drop constraint keyring_wiped,
  drop column algorithm, drop column activates_at, drop column activated_at, drop column retires_at, drop column retired_at;
alter table keyring
  add constraint signing_keys_purpose_check check (purpose in ('policy', 'token', 'checkpoint')),
  add constraint signing_keys_state_check check (state in ('active', 'retiring', 'retired'));
alter index keyring_active rename to signing_keys_active;
alter table keyring rename to signing_keys;

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

-- For development only: a grant that has a condition would allow more without it, so such grants end.
update grants set ended_at = clock_timestamp(), ended_by = 'migration', version = version + 1
where condition <> '' and ended_at is null;
alter table grants drop column condition;
alter table guardrails drop column condition;
