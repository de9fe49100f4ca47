-- What goes through gateways: call records kept by time, what they add up to, alerts, agents that sign in with a key, and
-- what a server may ask of a client.

-- Agents ---------------------------------------------------------------------------------------------

-- The models that an agent is registered to run with: a call that it makes through such a registration is attested.
alter table agents add column models text[] not null default '{}';

-- Keys of agents whose organisation gives them no tokens. Only a digest is stored, and delivered to gateways with the policy.
create table agent_keys (
  id         text primary key default new_id('agk'),
  agent_id   text not null references agents,
  name       text not null check (length(name) between 1 and 200),
  hash       bytea not null constraint agent_keys_hash unique check (octet_length(hash) = 32), -- SHA-256 of the key
  shown      text not null,                          -- its last characters, to tell it by
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  ended_at   timestamptz,
  ended_by   text not null default '',
  constraint agent_keys_expires check (expires_at > created_at),
  constraint agent_keys_life check (expires_at <= created_at + interval '8784 hours')
);
create index agent_keys_of on agent_keys (agent_id, created_at desc);
create index agent_keys_open on agent_keys (expires_at) where ended_at is null;

-- Servers and tools ----------------------------------------------------------------------------------

-- What a server may ask of the clients that use it. Nothing, unless somebody allows it; what was in use goes on.
alter table servers add column client_requests text[] not null default '{}'
  constraint servers_client_requests check (client_requests <@ '{sampling,elicitation,roots}');
update servers set client_requests = '{elicitation,roots,sampling}';
-- Labels of a tool, which rules may select by.
alter table tools add column labels text[] not null default '{}';

-- Call records ---------------------------------------------------------------------------------------

-- Telemetry of calls, in one partition for each week. calls stays for the release before this one, whose records are
-- copied; the next migration drops it.
create table call_records (
  call_id         text not null,
  gateway_id      text not null references gateways,
  instance        text not null default '',
  at              timestamptz not null,
  server          text not null,
  tool            text not null,
  kind            text not null,
  decision        text not null check (decision in ('allowed', 'denied', 'held', 'failed')),
  reason          text not null default '',
  subject         text not null default '',
  agent           text not null default '',
  model           text not null default '',
  model_assurance text not null default '',
  session         text not null default '',   -- keyed digest: tells sessions apart and nothing else
  trace_id        text not null default '',
  revision        bigint not null default 0,
  request_bytes   bigint not null default 0,
  response_bytes  bigint not null default 0,
  request_tokens  bigint not null default 0,   -- estimated, of the arguments
  response_tokens bigint not null default 0,   -- estimated, of what came back
  duration_us     bigint not null default 0,
  upstream_us     bigint not null default 0,   -- how much of it the server took
  tool_error      boolean not null default false, -- the server answered with an error
  filtered        integer not null default 0,  -- texts of the result that the output filter changed
  received_at     timestamptz not null default clock_timestamp(),
  primary key (call_id, at)
) partition by range (at);
create index call_records_at on call_records (at desc);
create index call_records_server on call_records (server, at desc);
create index call_records_session on call_records (session, at desc) where session <> '';

-- Makes the partitions for what is kept, and some weeks ahead, and drops those that are older than that many days. The
-- role that the server runs as may call it and may not do such things otherwise.
create function keep_call_records(days integer) returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
  week    date := date_trunc('week', (clock_timestamp() at time zone 'UTC') - make_interval(days => days))::date;
  old     record;
  dropped integer := 0;
begin
  if days not between 1 and 3660 then
    raise exception 'call records are kept for 1 to 3660 days, not %', days using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtext('call_records'));
  for old in
    select c.oid::regclass as name
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'call_records'::regclass and c.relname < 'call_records_' || to_char(week, 'YYYYMMDD')
  loop
    execute format('drop table %s', old.name);
    dropped := dropped + 1;
  end loop;
  while week <= (clock_timestamp() at time zone 'UTC')::date + 21 loop
    execute format('create table if not exists %I partition of call_records for values from (%L) to (%L)',
      'call_records_' || to_char(week, 'YYYYMMDD'), week::timestamp at time zone 'UTC', (week + 7)::timestamp at time zone 'UTC');
    week := week + 7;
  end loop;
  return dropped;
end $$;
revoke all on function keep_call_records(integer) from public;
grant execute on function keep_call_records(integer) to countersign_runtime;
select keep_call_records(90);

insert into call_records (call_id, gateway_id, at, server, tool, kind, decision, reason, subject, agent, model, revision,
                          request_bytes, response_bytes, duration_us, received_at)
select call_id, gateway_id, at, server, tool, kind, decision, reason, subject, agent, model, revision,
       request_bytes, response_bytes, duration_us, received_at
from calls where at between clock_timestamp() - interval '90 days' and clock_timestamp() + interval '14 days';
create function copy_call() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  insert into call_records (call_id, gateway_id, at, server, tool, kind, decision, reason, subject, agent, model, revision,
                            request_bytes, response_bytes, duration_us, received_at)
  values (new.call_id, new.gateway_id, new.at, new.server, new.tool, new.kind, new.decision, new.reason, new.subject, new.agent,
          new.model, new.revision, new.request_bytes, new.response_bytes, new.duration_us, new.received_at)
  on conflict do nothing;
  return new;
exception when check_violation then return new; -- of a time that is not kept
end $$;
create trigger calls_copied after insert on calls for each row execute function copy_call();

-- What call records add up to, for each hour. It outlives them.
create table usage_hours (
  hour            timestamptz not null,
  server          text not null,
  tool            text not null,
  kind            text not null,
  subject         text not null,
  agent           text not null,
  model           text not null,
  calls           bigint not null default 0,
  allowed         bigint not null default 0,
  denied          bigint not null default 0,
  held            bigint not null default 0,
  failed          bigint not null default 0,
  errors          bigint not null default 0,   -- of those that were allowed: the server answered with an error
  request_tokens  bigint not null default 0,
  response_tokens bigint not null default 0,
  request_bytes   bigint not null default 0,
  response_bytes  bigint not null default 0,
  duration_us     bigint not null default 0,
  upstream_us     bigint not null default 0,
  added_us        bigint not null default 0,
  added           bigint[] not null default '{}', -- how many calls took how much longer: counts of the steps of usage.Steps
  took            bigint[] not null default '{}', -- the same of all that they took
  primary key (hour, server, tool, kind, subject, agent, model)
);
create index usage_hours_server on usage_hours (server, hour);

-- What a model costs, by glob of its name; the longest that matches counts. In millionths of the currency for a million
-- tokens, as people write it with two or more decimals.
create table model_prices (
  id              text primary key default new_id('prc'),
  model           text not null check (length(model) between 1 and 200),
  currency        text not null check (currency ~ '^[A-Z]{3}$'),
  input_micros    bigint not null check (input_micros >= 0),   -- what the model reads: results
  output_micros   bigint not null check (output_micros >= 0),  -- what it writes: arguments
  version         bigint not null default 1,
  created_by      text not null,
  created_at      timestamptz not null default clock_timestamp(),
  changed_at      timestamptz not null default clock_timestamp(),
  ended_at        timestamptz,
  ended_by        text not null default ''
);
create unique index model_prices_one on model_prices (lower(model)) where ended_at is null;

-- Names of servers that callers asked gateways for and that nobody registered.
create table unknown_servers (
  name       text not null,
  gateway_id text not null references gateways,
  calls      bigint not null default 0,
  subject    text not null default '',   -- who asked last
  agent      text not null default '',
  first_at   timestamptz not null default clock_timestamp(),
  last_at    timestamptz not null default clock_timestamp(),
  primary key (name, gateway_id)
);

-- Alerts ---------------------------------------------------------------------------------------------

-- Something to be told of when it happens. Rules that every installation begins with may be switched off, not deleted.
create table alert_rules (
  id         text primary key default new_id('alr'),
  name       text not null check (length(name) between 1 and 200),
  kind       text not null,                          -- usage.Kinds
  params     jsonb not null default '{}',            -- threshold, seconds, and what it is about
  urgent     boolean not null default false,
  off_at     timestamptz,
  version    bigint not null default 1,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  changed_at timestamptz not null default clock_timestamp(),
  ended_at   timestamptz,
  ended_by   text not null default ''
);
create unique index alert_rules_name on alert_rules (lower(name)) where ended_at is null;

-- A rule that fired, about one thing. While it is open the same thing does not fire again: it is counted.
create table alerts (
  id              text primary key default new_id('alt'),
  rule_id         text not null references alert_rules,
  about           text not null,                     -- what it is about: a session, a server, a gateway
  summary         text not null,
  detail          jsonb not null default '{}',
  state           text not null default 'open' check (state in ('open', 'acknowledged', 'closed')),
  times           bigint not null default 1,
  fired_at        timestamptz not null default clock_timestamp(),
  last_at         timestamptz not null default clock_timestamp(),
  acknowledged_by text references people,
  acknowledged_at timestamptz,
  closed_at       timestamptz,
  closed_by       text not null default ''           -- "": by itself, as it did not happen again
);
create unique index alerts_open on alerts (rule_id, about) where state <> 'closed';
create index alerts_recent on alerts (fired_at desc, id desc);
create trigger alerts_terminal before update of state on alerts for each row execute function refuse_leaving_terminal('closed');

insert into alert_rules (id, name, kind, params, urgent, created_by) values
  ('alr_session', 'More than 100 calls a minute from one session', 'session_rate', '{"calls": 100, "seconds": 60}', false, 'installation');

grant select, insert, update on agent_keys, call_records, usage_hours, model_prices, unknown_servers, alert_rules, alerts to countersign_runtime;
grant delete on usage_hours, unknown_servers to countersign_runtime;
