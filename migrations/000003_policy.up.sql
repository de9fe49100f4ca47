-- What a policy needs to be the one that everybody can follow: conditions, a history of every rule, keys that change,
-- tests of the rules, and when each tool was last called.

-- Rules that look at the arguments of a call: one CEL expression each, '' for none. The program says what is a good
-- one; the database only bounds it.
alter table grants add column condition text not null default '',
  add constraint grants_condition_size check (octet_length(condition) <= 4096);
alter table guardrails add column condition text not null default '',
  add constraint guardrails_condition_size check (octet_length(condition) <= 4096);

-- What held when: every state of every rule by the generation of the policy, who moved each generation, and rules made
-- in an emergency. The server can read this history and neither write nor change it: triggers keep it.

-- A guardrail that stops a tool, an agent or a person at once. It stays when rules are rolled back.
alter table guardrails
  add column emergency boolean not null default false,
  add constraint guardrails_emergency_denies check (not emergency or effect @> '{"deny": true}');

-- When the policy moved, and the last audit event of the transaction that moved it. null: none, it was compiled anew,
-- or it is where this history begins.
create table generations (
  generation bigint primary key,
  epoch      bigint not null,
  at         timestamptz not null default clock_timestamp(),
  event_id   bigint references audit_events
);
insert into generations (generation, epoch) select generation, epoch from registry_head;

-- A state of a rule: it holds at the generations from from_generation to before to_generation, and to the present one
-- if that is null. From null: written by a transaction that has not moved the generation yet. A state that was replaced
-- within its own transaction held never; of a rule that has ended the last state is the one with an end. So a state ends
-- at the generation at which the next state of its rule begins.
create table rule_versions (
  id              bigint generated always as identity primary key,
  rule_id         text not null,
  kind            text not null check (kind in ('grant', 'guardrail')),
  version         bigint not null,
  ended           boolean not null,
  row             jsonb not null,           -- of grants or guardrails, whole
  from_generation bigint,
  to_generation   bigint,
  constraint rule_versions_forward check (to_generation is null or to_generation >= from_generation)
);
create index rule_versions_of on rule_versions (rule_id, id);
create index rule_versions_from on rule_versions (from_generation);
create index rule_versions_unnumbered on rule_versions (rule_id) where from_generation is null;
insert into rule_versions (rule_id, kind, version, ended, row, from_generation)
  select g.id, 'grant', g.version, false, to_jsonb(g), h.generation from grants g cross join registry_head h where g.ended_at is null
  union all
  select g.id, 'guardrail', g.version, false, to_jsonb(g), h.generation from guardrails g cross join registry_head h where g.ended_at is null;

-- Whose rules are in force. While a policy test fails they are those of an earlier generation than what else a revision
-- says: what was suspended or held since is published all the same.
alter table audiences add column rules_generation bigint not null default 0;
update audiences set rules_generation = compiled_generation;
alter table revisions add column rules_generation bigint;  -- null: that of the revision

create function keep_rule_versions() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  insert into rule_versions (rule_id, kind, version, ended, row)
  select c.id, tg_argv[0], c.version, c.ended_at is not null, to_jsonb(c) from changed c;
  return null;
end $$;
create trigger grants_made after insert on grants
  referencing new table as changed for each statement execute function keep_rule_versions('grant');
create trigger grants_changed after update on grants
  referencing new table as changed for each statement execute function keep_rule_versions('grant');
create trigger guardrails_made after insert on guardrails
  referencing new table as changed for each statement execute function keep_rule_versions('guardrail');
create trigger guardrails_changed after update on guardrails
  referencing new table as changed for each statement execute function keep_rule_versions('guardrail');

-- Whether anybody has a group that a rule names.
create index people_groups on people using gin (groups);

-- The last audit event of this transaction, for number_generation.
create function note_event() returns trigger language plpgsql as $$
begin
  perform set_config('countersign.event', new.id::text, true);
  return null;
end $$;
create trigger audit_events_note after insert on audit_events for each row execute function note_event();

-- The head's lock orders the generations as their transactions commit, so what is numbered here is exactly what a
-- snapshot of that generation sees.
create function number_generation() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  insert into generations (generation, epoch, event_id)
  values (new.generation, new.epoch, nullif(current_setting('countersign.event', true), '')::bigint);
  update rule_versions v set to_generation = new.generation
  from rule_versions n
  where n.from_generation is null and v.rule_id = n.rule_id and v.id < n.id and v.to_generation is null;
  update rule_versions set from_generation = new.generation where from_generation is null;
  return null;
end $$;
create trigger registry_head_numbers after update of generation on registry_head
  for each row when (new.generation <> old.generation) execute function number_generation();

create function rule_version_stays() returns trigger language plpgsql as $$
begin
  if (new.id, new.rule_id, new.kind, new.version, new.ended, new.row) is distinct from (old.id, old.rule_id, old.kind, old.version, old.ended, old.row)
     or old.from_generation is not null and new.from_generation is distinct from old.from_generation
     or old.to_generation is not null and new.to_generation is distinct from old.to_generation then
    raise exception 'what rule % was is past', old.rule_id using errcode = 'integrity_constraint_violation', constraint = 'rule_versions_immutable';
  end if;
  return new;
end $$;
create trigger rule_versions_immutable before update on rule_versions for each row execute function rule_version_stays();
create trigger rule_versions_append_only before delete on rule_versions for each row execute function refuse_change();
create trigger rule_versions_no_truncate before truncate on rule_versions for each statement execute function refuse_change();
create trigger generations_append_only before update or delete on generations for each row execute function refuse_change();
create trigger generations_no_truncate before truncate on generations for each statement execute function refuse_change();

grant select on generations, rule_versions to countersign_runtime;
grant execute on function note_event() to countersign_runtime;

-- Signing keys that change without anybody noticing, a root that vouches for them, and a memory of which database this is.

-- Keys ----------------------------------------------------------------------------------------------

-- The table is renamed, and the old name becomes a view of the keys that the binary before this one can read: it
-- would refuse to go on at the sight of an ECDSA key. The view goes with the next migration that touches keys.
alter table signing_keys rename to keyring;
alter index signing_keys_active rename to keyring_active;
alter table keyring drop constraint signing_keys_purpose_check, drop constraint signing_keys_state_check;

--   next ──activates_at, or at once──▶ active ──the next one signs──▶ retiring ──retires_at──▶ retired
--   (announced, does not sign yet)     (signs)                       (verifies only)          (the private half is wiped)
alter table keyring
  add column algorithm    text not null default 'EdDSA',
  add column activates_at timestamptz,  -- of a key in state next: when it begins to sign
  add column activated_at timestamptz,  -- when it began
  add column retires_at   timestamptz,  -- of a key in state retiring: when nothing it signed is in use any more
  add column retired_at   timestamptz;
update keyring set activated_at = created_at, retires_at = case when state = 'retiring' then clock_timestamp() + interval '1 day' end;
update keyring set private = '', retired_at = clock_timestamp() where state = 'retired';
alter table keyring
  add constraint keyring_purpose check (purpose in ('root', 'policy', 'token', 'checkpoint', 'bundle')),
  add constraint keyring_algorithm check (algorithm = case purpose when 'bundle' then 'ES256' else 'EdDSA' end),
  add constraint keyring_state check (state in ('next', 'active', 'retiring', 'retired')),
  add constraint keyring_wiped check ((state = 'retired') = (private = ''));
create unique index keyring_next on keyring (purpose) where state = 'next';

create view signing_keys as
  select id, purpose, public, private, state, created_at from keyring where algorithm = 'EdDSA' and state <> 'next';

-- The set of keys as a whole. Whoever holds a later version never goes back, so versions follow the clock: that of a
-- database restored from yesterday is later than today's as soon as the set moves.
create table key_set (
  only_row   boolean primary key default true check (only_row),
  version    bigint not null check (version > 0),
  changed_at timestamptz not null default clock_timestamp()
);
insert into key_set (version) values (extract(epoch from clock_timestamp()) * 1000);

create function move_key_set() returns bigint
  language sql volatile
begin atomic
  update key_set
  set version = greatest(version + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint), changed_at = clock_timestamp()
  returning version;
end;

-- Lineage -------------------------------------------------------------------------------------------

-- Which database this is, as the server that ran last saw it: cluster, timeline, database and table; '': none has looked
-- yet. One that was restored or failed over says something else, and the epoch moves on.
alter table registry_head add column lineage text not null default '';

create function database_lineage() returns text
  language sql stable
begin atomic
  select concat_ws('/', c.system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), d.oid, 'registry_head'::regclass::oid)
  from pg_control_system() c, pg_database d
  where d.datname = current_database();
end;

-- Is this still the policy, and this still the database that was looked at? A token that was redeemed on the database
-- before a lossy fail-over must not be redeemed again in the moment before the epoch moves.
create or replace function policy_is(p_epoch bigint, p_generation bigint) returns boolean
  language sql volatile
begin atomic
  select exists (
    select from registry_head
    where epoch = p_epoch and generation = p_generation
      and case when lineage = '' then true else lineage = database_lineage() end);
end;

grant select, insert, update on signing_keys, key_set to countersign_runtime;
grant execute on function move_key_set(), database_lineage() to countersign_runtime;

-- Policy tests: what must hold of the rules, whoever changes them. One that fails keeps a revision from being published.
create table policy_tests (
  id         text primary key default new_id('pts'),
  name       text not null check (length(name) between 1 and 200),
  given      jsonb not null,                -- delivery.Given: who calls what, and when
  expect     jsonb not null,                -- delivery.Expect
  version    bigint not null default 1,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  changed_at timestamptz not null default clock_timestamp(),
  ended_at   timestamptz,
  ended_by   text not null default ''
);
create unique index policy_tests_name_open on policy_tests (lower(name)) where ended_at is null;

grant select, insert, update on policy_tests to countersign_runtime;

-- When a thing was last called, so that the sprawl report need not search all calls, and knows it when these are purged.
create table tool_usage (
  server  text not null,
  tool    text not null,
  kind    text not null,
  last_at timestamptz not null,
  primary key (server, tool, kind)
);
insert into tool_usage (server, tool, kind, last_at) select server, tool, kind, max(at) from calls group by server, tool, kind;

grant select, insert, update on tool_usage to countersign_runtime;
