-- Countersign, first schema. Owned by the migration role; the server runs as countersign_runtime,
-- which can neither change nor delete an audit event (see the grants at the end).
-- Nothing is deleted: rows end. The database's clock (clock_timestamp()) is the only judge of time.

do $$
begin
  if not exists (select from pg_roles where rolname = 'countersign_runtime') then
    create role countersign_runtime nologin;
  end if;
end $$;

create function new_id(prefix text) returns text
  language sql volatile
  return prefix || '_' || substr(encode(sha256(uuid_send(gen_random_uuid())), 'hex'), 1, 20);

-- The one row every change of policy updates: its lock orders the changes, its generation numbers them.
create table registry_head (
  only_row   boolean primary key default true check (only_row),
  generation bigint not null default 1 check (generation > 0),
  epoch      bigint not null default 1 check (epoch > 0)
);
insert into registry_head default values;

-- Audit ---------------------------------------------------------------------------------------------

create table audit_events (
  id          bigint generated always as identity primary key,
  at          timestamptz not null default clock_timestamp(),
  kind        text   not null check (kind ~ '^[a-z_]+(\.[a-z_]+)+$'),
  actor_kind  text   not null check (actor_kind in ('person', 'gateway', 'client', 'agent', 'system', 'anonymous')),
  actor_id    text   not null default '',
  actor_name  text   not null default '',
  target_kind text   not null default '',
  target_id   text   not null default '',
  target_name text   not null default '',
  detail      jsonb  not null default '{}',
  ip          text   not null default '',
  request_id  text   not null default ''
);
create index audit_events_kind   on audit_events (kind, id desc);
create index audit_events_actor  on audit_events (actor_id, id desc);
create index audit_events_target on audit_events (target_id, id desc);
-- A second wall behind the guarded UPDATE: one redemption of one confirmation, ever.
create unique index audit_events_one_redeem on audit_events (target_id) where kind = 'confirmation.redeemed';

create function audit_append(
  p_kind text, p_actor_kind text, p_actor_id text, p_actor_name text,
  p_target_kind text, p_target_id text, p_target_name text,
  p_detail jsonb, p_ip text, p_request_id text) returns bigint
  language sql volatile
begin atomic
  insert into audit_events (kind, actor_kind, actor_id, actor_name, target_kind, target_id, target_name, detail, ip, request_id)
  values (p_kind, p_actor_kind, p_actor_id, p_actor_name, p_target_kind, p_target_id, p_target_name, p_detail, p_ip, p_request_id)
  returning id;
end;

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'integrity_constraint_violation', constraint = tg_table_name || '_append_only';
end $$;
create trigger audit_events_append_only before update or delete on audit_events for each row execute function refuse_change();
create trigger audit_events_no_truncate before truncate on audit_events for each statement execute function refuse_change();

-- State machines: a row in a terminal state never changes its state again. Arguments: the terminal states.
create function refuse_leaving_terminal() returns trigger language plpgsql as $$
begin
  if old.state = any (tg_argv) and new.state is distinct from old.state then
    raise exception '% % is % and stays so', tg_table_name, old.id, old.state
      using errcode = 'integrity_constraint_violation', constraint = tg_table_name || '_terminal';
  end if;
  return new;
end $$;

-- Identity ------------------------------------------------------------------------------------------

create table people (
  id           text primary key default new_id('per'),
  issuer       text not null,
  subject      text not null,
  name         text not null default '',
  email        text not null default '',
  groups       text[] not null default '{}',
  roles        text[] not null default '{}',
  disabled_at  timestamptz,
  created_at   timestamptz not null default clock_timestamp(),
  last_seen_at timestamptz not null default clock_timestamp(),
  constraint people_identity unique (issuer, subject)
);

create table sessions (
  id           text primary key default new_id('ses'),
  token_hash   bytea not null constraint sessions_token unique check (octet_length(token_hash) = 32),
  person_id    text not null references people,
  auth_time    timestamptz not null,
  amr          text[] not null default '{}',
  id_token     bytea,                       -- sealed; sent as id_token_hint at sign-out
  user_agent   text not null default '',
  ip           text not null default '',
  created_at   timestamptz not null default clock_timestamp(),
  last_seen_at timestamptz not null default clock_timestamp(),
  expires_at   timestamptz not null,        -- absolute
  ended_at     timestamptz
);
create index sessions_person on sessions (person_id) where ended_at is null;

-- A sign-in under way, bound to a cookie of the same browser; used once, ten minutes.
create table signins (
  cookie_hash bytea primary key check (octet_length(cookie_hash) = 32),
  state       text not null,
  nonce       text not null,
  verifier    bytea not null,               -- sealed PKCE verifier
  return_path text not null,
  created_at  timestamptz not null default clock_timestamp(),
  expires_at  timestamptz not null
);

create table api_clients (
  id          text primary key default new_id('cli'),
  name        text not null,
  kind        text not null check (kind in ('gateway', 'automation')),
  secret_hash bytea not null check (octet_length(secret_hash) = 32),
  created_by  text not null default '',
  created_at  timestamptz not null default clock_timestamp(),
  revoked_at  timestamptz
);

create table signing_keys (
  id         text primary key,              -- kid: RFC 7638 thumbprint
  purpose    text not null check (purpose in ('policy', 'token', 'checkpoint')),
  public     bytea not null,                -- Ed25519, 32 bytes
  private    bytea not null,                -- sealed under the key file
  state      text not null default 'active' check (state in ('active', 'retiring', 'retired')),
  created_at timestamptz not null default clock_timestamp()
);
create unique index signing_keys_active on signing_keys (purpose) where state = 'active';

-- Registry ------------------------------------------------------------------------------------------

create table teams (
  id         text primary key default new_id('tem'),
  name       text not null check (length(name) between 1 and 100),
  idp_groups text[] not null default '{}',  -- members by group of the identity provider
  created_at timestamptz not null default clock_timestamp()
);
create unique index teams_name on teams (lower(name));

create table team_members (                 -- members by name
  team_id   text not null references teams,
  person_id text not null references people,
  primary key (team_id, person_id)
);

create table servers (
  id          text primary key default new_id('srv'),
  name        text not null constraint servers_name_form check (name ~ '^[A-Za-z0-9.-]+/[A-Za-z0-9._-]+$' and length(name) between 3 and 200),
  title       text not null default '',
  description text not null default '',
  team_id     text not null references teams,
  labels      text[] not null default '{}',
  state       text not null default 'proposed' check (state in ('proposed', 'active', 'suspended', 'retired')),
  version     bigint not null default 1,
  created_by  text not null,
  created_at  timestamptz not null default clock_timestamp(),
  changed_at  timestamptz not null default clock_timestamp()
);
create unique index servers_name on servers (lower(name));
create trigger servers_terminal before update of state on servers for each row execute function refuse_leaving_terminal('retired');

create table endpoints (
  id             text primary key default new_id('end'),
  server_id      text not null references servers,
  transport      text not null check (transport in ('streamable_http', 'stdio')),
  url            text not null default '',
  command        text not null default '',  -- a name from the gateway's own configuration, never a command line
  command_digest bytea,
  digest         bytea not null check (octet_length(digest) = 32),
  created_at     timestamptz not null default clock_timestamp(),
  ended_at       timestamptz,
  constraint endpoints_form check (
    (transport = 'streamable_http' and url <> '' and command = '') or
    (transport = 'stdio' and command <> '' and url = '' and octet_length(command_digest) = 32))
);
create unique index endpoints_current on endpoints (server_id) where ended_at is null;

create table tools (
  id                text primary key default new_id('tol'),
  server_id         text not null references servers,
  kind              text not null check (kind in ('tool', 'prompt', 'resource')),
  name              text not null,          -- for a resource its URI or URI template
  risk              text check (risk in ('read_only', 'write', 'destructive')),
  pinned_id         text,                   -- definitions(id); null: never pinned, not callable
  observed_digest   bytea,                  -- what the endpoint last served; null: not offered any more
  observed_endpoint text references endpoints,
  observed_at       timestamptz,
  held_at           timestamptz,            -- drift: what is served is not what is pinned
  held_reason       text not null default '',
  version           bigint not null default 1,
  created_at        timestamptz not null default clock_timestamp(),
  constraint tools_name unique (server_id, kind, name),
  constraint tools_pinned_has_risk check (pinned_id is null or risk is not null)
);

create table definitions (
  id            text primary key default new_id('def'),
  tool_id       text not null references tools,
  number        integer not null check (number > 0),    -- v1, v2, …
  digest        bytea not null check (octet_length(digest) = 32),
  raw           bytea not null,                          -- as received
  proposed_risk text not null check (proposed_risk in ('read_only', 'write', 'destructive')),
  findings      jsonb not null default '[]',
  state         text not null default 'pending' check (state in ('pending', 'approved', 'rejected', 'superseded')),
  first_seen_at timestamptz not null default clock_timestamp(),
  decided_at    timestamptz,
  decided_by    text not null default '',
  reason        text not null default '',
  constraint definitions_number unique (tool_id, number),
  constraint definitions_digest unique (tool_id, digest)
);
create index definitions_by_digest on definitions (digest);
create function definition_stays() returns trigger language plpgsql as $$
begin
  if (new.tool_id, new.number, new.digest, new.raw) is distinct from (old.tool_id, old.number, old.digest, old.raw) then
    raise exception 'definition % is immutable', old.id using errcode = 'integrity_constraint_violation', constraint = 'definitions_immutable';
  end if;
  return new;
end $$;
create trigger definitions_immutable before update on definitions for each row execute function definition_stays();
alter table tools add constraint tools_pinned foreign key (pinned_id) references definitions;

-- A discovery: a job that a gateway leases, answers and reports on while it works.
create table discoveries (
  id           text primary key default new_id('dis'),
  server_id    text not null references servers,
  endpoint_id  text not null references endpoints,
  state        text not null default 'waiting' check (state in ('waiting', 'running', 'done', 'failed', 'cancelled')),
  gateway_id   text,
  leased_until timestamptz,
  attempts     integer not null default 0,
  not_before   timestamptz not null default clock_timestamp(),
  instance     text not null default '',    -- of the gateway that leased it
  steps        jsonb not null default '[]',
  server_info  jsonb not null default '{}', -- what the server calls itself: {name, version, title}
  offered      integer not null default 0,  -- how many tools, prompts and resources it offered
  error        text not null default '',
  requested_by text not null,
  created_at   timestamptz not null default clock_timestamp(),
  finished_at  timestamptz
);
create index discoveries_recent on discoveries (server_id, created_at desc);
create unique index discoveries_open on discoveries (server_id) where state in ('waiting', 'running');
create trigger discoveries_terminal before update of state on discoveries
  for each row execute function refuse_leaving_terminal('done', 'failed', 'cancelled');

create table grants (
  id         text primary key default new_id('grt'),
  name       text not null check (length(name) between 1 and 200),
  subject    jsonb not null,                -- policy.Subject
  resource   jsonb not null,                -- policy.Resource
  not_before timestamptz,
  not_after  timestamptz,
  reason     text not null default '',
  version    bigint not null default 1,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  ended_at   timestamptz,
  ended_by   text not null default '',
  constraint grants_window check (not_before is null or not_after is null or not_before < not_after)
);
create index grants_open on grants (id) where ended_at is null;

create table guardrails (
  id         text primary key default new_id('grd'),
  name       text not null check (length(name) between 1 and 200),
  subject    jsonb not null,                -- policy.Subject
  exempt     jsonb not null default '{}',   -- policy.Subject
  resource   jsonb not null,                -- policy.Resource
  effect     jsonb not null,                -- policy.Effect
  reason     text not null default '',
  version    bigint not null default 1,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  ended_at   timestamptz,
  ended_by   text not null default ''
);

insert into guardrails (name, subject, resource, effect, reason, created_by) values (
  'Destructive tools need a person of the owning team',
  '{"everyone": true}', '{"servers": ["*"], "risks": ["destructive"]}',
  '{"approval": {"quorum": 1, "owning_team": true}}',
  'Every installation begins with this rule.', 'installation');

-- Delivery ------------------------------------------------------------------------------------------

create table audiences (
  id                  text primary key default new_id('aud'),
  name                text not null constraint audiences_name unique check (length(name) between 1 and 100),
  servers             text[] not null default '{*}',     -- name globs: the servers it may see
  revision            bigint not null default 0,         -- current revision, 0: none yet
  compiled_generation bigint not null default 0,         -- up to which generation that revision speaks
  compile_error       text not null default '',
  warnings            jsonb not null default '[]',
  created_at          timestamptz not null default clock_timestamp()
);

-- Whether an audience with these globs sees a server; names compare ignoring case.
create function audience_sees(globs text[], server_name text) returns boolean
  language sql immutable
  return exists (
    select 1 from unnest(globs) as glob
    where server_name ilike replace(replace(replace(replace(glob, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'));

create table gateways (
  id          text primary key default new_id('gtw'),
  name        text not null check (length(name) between 1 and 100),
  kind        text not null default 'proxy' check (kind in ('proxy', 'embedded')),
  audience_id text not null references audiences,
  client_id   text not null constraint gateways_client unique references api_clients,
  resource    text not null default '',     -- its own URL: the audience of the tokens that agents send it
  created_by  text not null,
  created_at  timestamptz not null default clock_timestamp(),
  revoked_at  timestamptz,
  revoked_by  text not null default ''
);

create unique index gateways_name on gateways (lower(name)) where revoked_at is null;  -- a name is free again after revocation

create table gateway_instances (
  gateway_id        text not null references gateways,
  instance          text not null check (length(instance) between 1 and 100),
  version           text not null default '',
  epoch             bigint not null default 0,
  active_revision   bigint not null default 0,
  received_revision bigint not null default 0,
  rejected_revision bigint not null default 0,
  rejected_reason   text not null default '',
  commands          jsonb not null default '[]',  -- stdio servers it can start: [{name, digest}]
  started_at        timestamptz not null default clock_timestamp(),
  last_seen_at      timestamptz not null default clock_timestamp(),
  primary key (gateway_id, instance)
);

-- A compiled, signed policy for one audience. Immutable. revision = the generation that last changed its content.
create table revisions (
  audience_id text not null references audiences,
  epoch       bigint not null,
  revision    bigint not null,
  digest      bytea not null check (octet_length(digest) = 32),  -- SHA-256 of document
  content     bytea not null check (octet_length(content) = 32), -- digest of all but revision and time of issue
  document    bytea not null,
  gzipped     bytea not null,
  kid         text not null,
  signature   text not null,                -- detached JWS over document
  jws         text not null,                -- the same document inside a JWS
  created_at  timestamptz not null default clock_timestamp(),
  primary key (audience_id, epoch, revision)
);
create trigger revisions_append_only before update or delete on revisions for each row execute function refuse_change();

create table calls (                        -- call records: telemetry, not events
  call_id     text primary key,
  gateway_id  text not null references gateways,
  at          timestamptz not null,
  server      text not null,
  tool        text not null,
  kind        text not null,
  decision    text not null check (decision in ('allowed', 'denied', 'held', 'failed')),
  reason      text not null default '',
  subject     text not null default '',
  agent       text not null default '',
  model       text not null default '',
  revision    bigint not null default 0,
  request_bytes  bigint not null default 0,
  response_bytes bigint not null default 0,
  duration_us    bigint not null default 0,
  received_at timestamptz not null default clock_timestamp()
);
create index calls_at on calls (at desc);

-- Approvals -----------------------------------------------------------------------------------------

create table approvals (
  id                text primary key default new_id('apr'),
  epoch             bigint not null,
  gateway_id        text not null references gateways,
  server_id         text not null references servers,
  server_name       text not null,
  tool_id           text not null references tools,
  tool_name         text not null,
  definition_digest bytea not null,
  call_digest       bytea not null check (octet_length(call_digest) = 32),
  call              bytea not null,         -- sealed canonical call: policy.Call
  principal         bytea not null,         -- sealed policy.Principal, as it was at the ask: what later evaluations judge
  caller_issuer     text not null,
  caller_subject    text not null,
  caller_name       text not null default '',
  agent             text not null default '',
  model             text not null default '',
  evidence          text not null check (evidence in ('verified', 'asserted')),
  guardrails        text[] not null default '{}',  -- ids, why it is held
  grants            text[] not null default '{}',  -- ids, what would allow it
  team_ids          text[] not null default '{}',  -- who may decide: members of any of these
  quorum            integer not null check (quorum between 1 and 20),
  deny_quorum       integer not null default 1 check (deny_quorum between 1 and 20),
  generation        bigint not null,        -- evaluated at
  state             text not null default 'pending'
                    check (state in ('pending', 'approved', 'denied', 'expired', 'cancelled', 'superseded', 'revoked', 'closed')),
  version           bigint not null default 1,
  state_reason      text not null default '',
  decided_by        text not null default '',
  created_at        timestamptz not null default clock_timestamp(),
  expires_at        timestamptz not null,
  decided_at        timestamptz,
  claim_by          timestamptz,
  changed_at        timestamptz not null default clock_timestamp()
);
-- The same call by the same principal through the same gateway joins the same request.
create unique index approvals_open on approvals (call_digest) where state in ('pending', 'approved');
create index approvals_pending on approvals (expires_at) where state = 'pending';
create index approvals_to_claim on approvals (claim_by) where state = 'approved';
create index approvals_recent on approvals (created_at desc, id desc);
create index approvals_changed on approvals (changed_at);
create index approvals_decided on approvals (decided_at) where decided_at is not null;
create trigger approvals_terminal before update of state on approvals
  for each row execute function refuse_leaving_terminal('denied', 'expired', 'cancelled', 'superseded', 'revoked', 'closed');

create table votes (
  approval_id text not null references approvals,
  person_id   text not null references people,
  decision    text not null check (decision in ('approve', 'deny')),
  reason      text not null default '',
  seen_digest bytea not null,
  session_id  text not null,
  amr         text[] not null default '{}',
  auth_time   timestamptz not null,
  ip          text not null default '',
  at          timestamptz not null default clock_timestamp(),
  constraint votes_one_each primary key (approval_id, person_id),
  constraint votes_deny_has_reason check (decision = 'approve' or reason <> '')
);

-- issued → redeemed → succeeded | failed | indeterminate;  issued → expired | revoked;  never back.
create table confirmations (
  id            text primary key default new_id('cnf'),
  approval_id   text not null references approvals,
  token_hash    bytea not null constraint confirmations_token unique check (octet_length(token_hash) = 32),
  gateway_id    text not null references gateways,
  call_digest   bytea not null check (octet_length(call_digest) = 32),
  epoch         bigint not null,
  state         text not null default 'issued' check (state in ('issued', 'redeemed', 'succeeded', 'failed', 'indeterminate', 'expired', 'revoked')),
  rotations     integer not null default 0,
  issued_at     timestamptz not null default clock_timestamp(),
  expires_at    timestamptz not null,
  redemption_id text constraint confirmations_redemption unique,
  instance      text not null default '',
  redeemed_at   timestamptz,
  outcome_by    timestamptz,                -- no outcome by then: indeterminate
  finished_at   timestamptz,
  outcome       jsonb not null default '{}',
  constraint confirmations_redeemed check ((redeemed_at is null) = (redemption_id is null))
);
create unique index confirmations_one on confirmations (approval_id) where state not in ('expired', 'revoked');
create index confirmations_of on confirmations (approval_id);
create index confirmations_to_redeem on confirmations (expires_at) where state = 'issued';
create index confirmations_to_finish on confirmations (outcome_by) where state = 'redeemed';
create function confirmation_moves_forward() returns trigger language plpgsql as $$
begin
  if new.state <> old.state and not (
       (old.state = 'issued' and new.state in ('redeemed', 'expired', 'revoked'))
    or (old.state = 'redeemed' and new.state in ('succeeded', 'failed', 'indeterminate'))
    or (old.state = 'indeterminate' and new.state in ('succeeded', 'failed'))) then
    raise exception 'confirmation % cannot go from % to %', old.id, old.state, new.state
      using errcode = 'integrity_constraint_violation', constraint = 'confirmations_forward';
  end if;
  if old.state <> 'issued' and (new.token_hash <> old.token_hash or new.redemption_id is distinct from old.redemption_id) then
    raise exception 'confirmation % is used', old.id using errcode = 'integrity_constraint_violation', constraint = 'confirmations_forward';
  end if;
  return new;
end $$;
create trigger confirmations_forward before update on confirmations for each row execute function confirmation_moves_forward();

-- Is this still the policy? Volatile, so that inside a statement it reads with a snapshot of its own: one that
-- waited for a lock must not go on under the policy of before the wait.
create function policy_is(p_epoch bigint, p_generation bigint) returns boolean
  language sql volatile
begin atomic
  select exists (select from registry_head where epoch = p_epoch and generation = p_generation);
end;

-- What the server may do ------------------------------------------------------------------------------

grant usage on schema public to countersign_runtime;
grant select, insert, update on all tables in schema public to countersign_runtime;
grant usage on all sequences in schema public to countersign_runtime;
grant delete on signins to countersign_runtime;
revoke update on audit_events, revisions from countersign_runtime;
grant execute on all functions in schema public to countersign_runtime;
