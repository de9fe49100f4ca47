-- What a registry needs to be the reference: versions to publish, a second pair of eyes for a lower risk, how grave a
-- change is, what a list costs, names that look alike, rules kept in files, and requests that may be repeated.

-- Servers -------------------------------------------------------------------------------------------

-- A published version of a server, as the MCP registry API shows it: one record for each. The latest is the one
-- published last.
create table server_versions (
  id           text primary key default new_id('ver'),
  server_id    text not null references servers,
  version      text not null check (length(version) between 1 and 255),
  manifest     jsonb not null default '{}',  -- the server.json it was imported from, cleaned; {}: registered by hand
  published_at timestamptz not null default clock_timestamp(),
  updated_at   timestamptz not null default clock_timestamp(),
  constraint server_versions_version unique (server_id, version)
);
create index server_versions_updated on server_versions (updated_at);
insert into server_versions (server_id, version, published_at, updated_at)
  select id, '1.0.0', created_at, changed_at from servers;

-- When a server last changed its state, and the generation of the policy that says so: who waits for a suspension
-- to take effect compares what each gateway runs with it.
alter table servers
  add column state_generation bigint not null default 0,
  add column state_at         timestamptz not null default clock_timestamp();
update servers set state_at = changed_at;

-- When an instance began to run what it runs.
alter table gateway_instances add column active_at timestamptz;

-- Tools ---------------------------------------------------------------------------------------------

alter table definitions add column tokens integer check (tokens >= 0);  -- what it costs a model to read, estimated; null: not counted

alter table tools
  add column skeleton     text not null default '',  -- the name as the eye sees it: names with one skeleton look alike
  add column severity     text not null default '' check (severity in ('', 'low', 'medium', 'high', 'critical')),  -- of what holds it
  add column held_note    text not null default '',  -- why a person keeps it held
  add column held_note_by text not null default '',
  add column held_note_at timestamptz;
create index tools_skeleton on tools (skeleton, kind, created_at, id) where skeleton <> '';
create index tools_without_skeleton on tools (id) where skeleton = '';
create index definitions_not_counted on definitions (id) where tokens is null;
create index tools_held on tools (held_at) where held_at is not null;
update tools set severity = 'high' where held_at is not null;  -- nobody has graded it
update registry_head set generation = generation + 1           -- what is gone is not callable from now on
  where exists (select from tools where pinned_id is not null and observed_digest is null and held_at is null);

-- A look at everything a server offers is noted once, and not on each of its thousands of tools.
alter table endpoints add column looked_at timestamptz;

-- Lowering a risk takes two: who proposes it does not decide it.
--
--   open ──another person──▶ approved | declined
--     └──the proposer──▶ withdrawn;  the tool's definition changes ──▶ superseded
create table risk_proposals (
  id            text primary key default new_id('rsk'),
  tool_id       text not null references tools,
  definition_id text not null references definitions,  -- what the proposer had read
  from_risk     text not null check (from_risk in ('write', 'destructive')),
  to_risk       text not null check (to_risk in ('read_only', 'write')),
  reason        text not null check (reason <> ''),
  proposed_by   text not null references people,
  state         text not null default 'open' check (state in ('open', 'approved', 'declined', 'withdrawn', 'superseded')),
  created_at    timestamptz not null default clock_timestamp(),
  decided_by    text references people,
  decided_at    timestamptz,
  decision_reason text not null default '',
  constraint risk_proposals_lower check (to_risk = 'read_only' and from_risk <> 'read_only' or to_risk = 'write' and from_risk = 'destructive'),
  constraint risk_proposals_two_people check (state not in ('approved', 'declined') or (decided_by is not null and decided_by <> proposed_by))
);
create unique index risk_proposals_open on risk_proposals (tool_id) where state = 'open';
create trigger risk_proposals_terminal before update of state on risk_proposals
  for each row execute function refuse_leaving_terminal('approved', 'declined', 'withdrawn', 'superseded');

-- Rules kept in files -------------------------------------------------------------------------------

-- The name by which a file knows a rule. One made in the console is known by its id.
create function key_is_id() returns trigger language plpgsql as $$
begin
  if new.key is null or new.key = '' then
    new.key := new.id;
  end if;
  return new;
end $$;
alter table grants add column key text;
alter table guardrails add column key text;
update grants set key = id;
update guardrails set key = id;
create trigger grants_key before insert on grants for each row execute function key_is_id();
create trigger guardrails_key before insert on guardrails for each row execute function key_is_id();
alter table grants alter column key set not null,
  add constraint grants_key_form check (key ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$');
alter table guardrails alter column key set not null,
  add constraint guardrails_key_form check (key ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$');
create unique index grants_key_open on grants (key) where ended_at is null;
create unique index guardrails_key_open on guardrails (key) where ended_at is null;

-- Automation ----------------------------------------------------------------------------------------

alter table api_clients
  add column roles   text[] not null default '{}' check (roles <@ array['viewer', 'auditor', 'admin']),
  add column team_id text references teams;  -- acts as a member of this team

-- A request that carried an Idempotency-Key. Without an answer it is under way, or nobody knows how it ended.
create table idempotency_keys (
  actor_id    text not null,
  key         text not null check (length(key) between 1 and 200),
  request     bytea not null check (octet_length(request) = 32),  -- digest of method, path and body
  status      integer,
  headers     jsonb not null default '{}',
  body        bytea,
  created_at  timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (actor_id, key)
);
create index idempotency_keys_old on idempotency_keys (created_at);

create index calls_of_tool on calls (server, tool, at desc);

grant select, insert, update on server_versions, risk_proposals, idempotency_keys to countersign_runtime;
grant delete on idempotency_keys, team_members to countersign_runtime;
grant execute on function key_is_id() to countersign_runtime;
