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
