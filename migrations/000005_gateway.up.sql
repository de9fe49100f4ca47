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
-- copied; the next migration drops it. The gateway was authenticated, and gateways are never deleted: it is not looked up
-- for each record.
create table call_records (
  call_id         text not null,
  gateway_id      text not null,
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
  upstream_us     bigint not null default 0,   -- how much of it the server took; 0: not measured
  tool_error      boolean not null default false, -- the server answered with an error
  filtered        integer not null default 0,  -- texts of the result that the output filter changed
  received_at     timestamptz not null default clock_timestamp(),
  primary key (call_id, at)
) partition by range (at);
create index call_records_at on call_records (at desc, call_id desc);
create index call_records_server on call_records (server, at desc);
create index call_records_session on call_records (session, at desc) where session <> '';

-- Makes the partitions for what is kept, and some weeks ahead, and drops those that are older than that many days. The
-- role that the server runs as may call it and may not do such things otherwise. A partition is made first and attached
-- then, which stops nobody; to drop one waits for a moment alone, and is tried again the next time.
create function keep_call_records(days integer) returns integer language plpgsql security definer set search_path = public, pg_temp as $$
declare
  first   date := date_trunc('week', (clock_timestamp() at time zone 'UTC') - make_interval(days => days))::date;
  week    date := first;
  name    text;
  old     record;
  dropped integer := 0;
begin
  if days is null or days not between 1 and 3660 then
    raise exception 'call records are kept for 1 to 3660 days, not %', days using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtext('call_records'));
  while week <= (clock_timestamp() at time zone 'UTC')::date + 21 loop
    name := 'call_records_' || to_char(week, 'YYYYMMDD');
    if to_regclass(name) is null then
      execute format('create table %I (like call_records including all)', name);
      execute format('alter table call_records attach partition %I for values from (%L) to (%L)',
        name, week::timestamp at time zone 'UTC', (week + 7)::timestamp at time zone 'UTC');
    end if;
    week := week + 7;
  end loop;
  set local lock_timeout = '2s';
  for old in
    select c.oid::regclass as name
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'call_records'::regclass and c.relname < 'call_records_' || to_char(first, 'YYYYMMDD')
    order by c.relname
  loop
    begin
      execute format('drop table %s', old.name);
      dropped := dropped + 1;
    exception when lock_not_available then
      return dropped;
    end;
  end loop;
  return dropped;
end $$;
revoke all on function keep_call_records(integer) from public;
grant execute on function keep_call_records(integer) to countersign_runtime;
-- As far back as there are calls; the server makes the rest, and drops what it does not keep.
select keep_call_records(least(400, greatest(14, (select 1 + extract(day from clock_timestamp() - min(at))::integer from calls))));

-- What call records add up to. It outlives them: hours are kept as long as they are, days for longer.
create table usage_hours (
  at              timestamptz not null,        -- when it begins, in UTC
  server          text not null,
  tool            text not null,
  kind            text not null,
  subject         text not null,
  agent           text not null,
  model           text not null,
  calls           bigint not null,
  allowed         bigint not null,
  denied          bigint not null,
  held            bigint not null,
  failed          bigint not null,
  errors          bigint not null,             -- of those that were allowed: the server answered with an error
  request_tokens  bigint not null,
  response_tokens bigint not null,
  request_bytes   bigint not null,
  response_bytes  bigint not null,
  duration_us     bigint not null,             -- of calls that were allowed or failed; so are the next four
  upstream_us     bigint not null,
  added_us        bigint not null,             -- of those whose gateway measured the server
  took            integer[] not null check (cardinality(took) = 19),  -- how many of them took how long: see usage_step
  added           integer[] not null check (cardinality(added) = 19), -- the same of what gateways added
  last_at         timestamptz not null,        -- of the last call
  used_at         timestamptz,                 -- of the last that was allowed
  primary key (at, server, tool, kind, subject, agent, model)
) with (fillfactor = 80);
create table usage_days (
  at              timestamptz not null,        -- when it begins, in UTC
  server          text not null,
  tool            text not null,
  kind            text not null,
  subject         text not null,
  agent           text not null,
  model           text not null,
  calls           bigint not null,
  allowed         bigint not null,
  denied          bigint not null,
  held            bigint not null,
  failed          bigint not null,
  errors          bigint not null,             -- of those that were allowed: the server answered with an error
  request_tokens  bigint not null,
  response_tokens bigint not null,
  request_bytes   bigint not null,
  response_bytes  bigint not null,
  duration_us     bigint not null,             -- of calls that were allowed or failed; so are the next four
  upstream_us     bigint not null,
  added_us        bigint not null,             -- of those whose gateway measured the server
  took            integer[] not null check (cardinality(took) = 19),  -- how many of them took how long: see usage_step
  added           integer[] not null check (cardinality(added) = 19), -- the same of what gateways added
  last_at         timestamptz not null,        -- of the last call
  used_at         timestamptz,                 -- of the last that was allowed
  primary key (at, server, tool, kind, subject, agent, model)
) with (fillfactor = 80);
create index usage_days_server on usage_days (server, tool, at);
-- An array with a short header is copied whenever one of its elements is read.
alter table usage_hours alter took set storage plain, alter added set storage plain;
alter table usage_days alter took set storage plain, alter added set storage plain;

-- In which step a time is: 0 for less than 100 µs, …, 18 for a minute and more. The same steps as usage.Steps.
create function usage_step(us bigint) returns integer language sql immutable as $$
  select width_bucket(us, '{100,200,500,1000,2000,5000,10000,20000,50000,100000,200000,500000,1000000,2000000,5000000,10000000,30000000,60000000}'::bigint[])
$$;
create function add_steps(a integer[], b integer[]) returns integer[] language sql immutable as $$
  select array[a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5], a[6] + b[6], a[7] + b[7], a[8] + b[8], a[9] + b[9], a[10] + b[10], a[11] + b[11], a[12] + b[12], a[13] + b[13], a[14] + b[14], a[15] + b[15], a[16] + b[16], a[17] + b[17], a[18] + b[18], a[19] + b[19]]
$$;

-- Names of servers that callers asked gateways for and that nobody registered.
create table unknown_servers (
  name       text not null,
  gateway_id text not null references gateways,
  calls      bigint not null,
  subject    text not null default '',   -- who asked last
  agent      text not null default '',
  first_at   timestamptz not null,
  last_at    timestamptz not null,
  primary key (name, gateway_id)
);

-- Adds up records that are new, whoever wrote them. A clock that is ahead does not make a tool used in the future.
create function add_up_calls() returns trigger language plpgsql as $$
begin
  insert into usage_hours as u (at, server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, request_bytes, response_bytes, duration_us, upstream_us, added_us, took, added, last_at, used_at)
  select date_trunc('hour', c.at, 'UTC'), server, tool, kind, subject, agent, model, count(*), count(*) filter (where decision = 'allowed'),
         count(*) filter (where decision = 'denied'), count(*) filter (where decision = 'held'), count(*) filter (where decision = 'failed'),
         count(*) filter (where decision = 'allowed' and tool_error), sum(request_tokens), sum(response_tokens), sum(request_bytes), sum(response_bytes),
         coalesce(sum(duration_us) filter (where s.took is not null), 0), coalesce(sum(upstream_us) filter (where s.took is not null), 0),
         coalesce(sum(duration_us - upstream_us) filter (where s.added is not null), 0),
         array[count(*) filter (where s.took = 0), count(*) filter (where s.took = 1), count(*) filter (where s.took = 2), count(*) filter (where s.took = 3), count(*) filter (where s.took = 4), count(*) filter (where s.took = 5), count(*) filter (where s.took = 6), count(*) filter (where s.took = 7), count(*) filter (where s.took = 8), count(*) filter (where s.took = 9), count(*) filter (where s.took = 10), count(*) filter (where s.took = 11), count(*) filter (where s.took = 12), count(*) filter (where s.took = 13), count(*) filter (where s.took = 14), count(*) filter (where s.took = 15), count(*) filter (where s.took = 16), count(*) filter (where s.took = 17), count(*) filter (where s.took = 18)],
         array[count(*) filter (where s.added = 0), count(*) filter (where s.added = 1), count(*) filter (where s.added = 2), count(*) filter (where s.added = 3), count(*) filter (where s.added = 4), count(*) filter (where s.added = 5), count(*) filter (where s.added = 6), count(*) filter (where s.added = 7), count(*) filter (where s.added = 8), count(*) filter (where s.added = 9), count(*) filter (where s.added = 10), count(*) filter (where s.added = 11), count(*) filter (where s.added = 12), count(*) filter (where s.added = 13), count(*) filter (where s.added = 14), count(*) filter (where s.added = 15), count(*) filter (where s.added = 16), count(*) filter (where s.added = 17), count(*) filter (where s.added = 18)],
         max(c.at), max(c.at) filter (where s.took is not null)
  from recorded c, lateral (select case when c.decision in ('allowed', 'failed') then usage_step(c.duration_us) end as took,
    case when c.decision in ('allowed', 'failed') and c.upstream_us > 0 then usage_step(c.duration_us - c.upstream_us) end as added) s
  where c.reason <> 'unknown_server'
  group by 1, server, tool, kind, subject, agent, model
  order by 1, server, tool, kind, subject, agent, model -- in one order, as batches of several gateways meet
  on conflict (at, server, tool, kind, subject, agent, model) do update set
    calls = u.calls + excluded.calls,
    allowed = u.allowed + excluded.allowed,
    denied = u.denied + excluded.denied,
    held = u.held + excluded.held,
    failed = u.failed + excluded.failed,
    errors = u.errors + excluded.errors,
    request_tokens = u.request_tokens + excluded.request_tokens,
    response_tokens = u.response_tokens + excluded.response_tokens,
    request_bytes = u.request_bytes + excluded.request_bytes,
    response_bytes = u.response_bytes + excluded.response_bytes,
    duration_us = u.duration_us + excluded.duration_us,
    upstream_us = u.upstream_us + excluded.upstream_us,
    added_us = u.added_us + excluded.added_us,
    took = add_steps(u.took, excluded.took), added = add_steps(u.added, excluded.added),
    last_at = greatest(u.last_at, excluded.last_at), used_at = greatest(u.used_at, excluded.used_at);
  insert into usage_days as u (at, server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, request_bytes, response_bytes, duration_us, upstream_us, added_us, took, added, last_at, used_at)
  select date_trunc('day', c.at, 'UTC'), server, tool, kind, subject, agent, model, count(*), count(*) filter (where decision = 'allowed'),
         count(*) filter (where decision = 'denied'), count(*) filter (where decision = 'held'), count(*) filter (where decision = 'failed'),
         count(*) filter (where decision = 'allowed' and tool_error), sum(request_tokens), sum(response_tokens), sum(request_bytes), sum(response_bytes),
         coalesce(sum(duration_us) filter (where s.took is not null), 0), coalesce(sum(upstream_us) filter (where s.took is not null), 0),
         coalesce(sum(duration_us - upstream_us) filter (where s.added is not null), 0),
         array[count(*) filter (where s.took = 0), count(*) filter (where s.took = 1), count(*) filter (where s.took = 2), count(*) filter (where s.took = 3), count(*) filter (where s.took = 4), count(*) filter (where s.took = 5), count(*) filter (where s.took = 6), count(*) filter (where s.took = 7), count(*) filter (where s.took = 8), count(*) filter (where s.took = 9), count(*) filter (where s.took = 10), count(*) filter (where s.took = 11), count(*) filter (where s.took = 12), count(*) filter (where s.took = 13), count(*) filter (where s.took = 14), count(*) filter (where s.took = 15), count(*) filter (where s.took = 16), count(*) filter (where s.took = 17), count(*) filter (where s.took = 18)],
         array[count(*) filter (where s.added = 0), count(*) filter (where s.added = 1), count(*) filter (where s.added = 2), count(*) filter (where s.added = 3), count(*) filter (where s.added = 4), count(*) filter (where s.added = 5), count(*) filter (where s.added = 6), count(*) filter (where s.added = 7), count(*) filter (where s.added = 8), count(*) filter (where s.added = 9), count(*) filter (where s.added = 10), count(*) filter (where s.added = 11), count(*) filter (where s.added = 12), count(*) filter (where s.added = 13), count(*) filter (where s.added = 14), count(*) filter (where s.added = 15), count(*) filter (where s.added = 16), count(*) filter (where s.added = 17), count(*) filter (where s.added = 18)],
         max(c.at), max(c.at) filter (where s.took is not null)
  from recorded c, lateral (select case when c.decision in ('allowed', 'failed') then usage_step(c.duration_us) end as took,
    case when c.decision in ('allowed', 'failed') and c.upstream_us > 0 then usage_step(c.duration_us - c.upstream_us) end as added) s
  where c.reason <> 'unknown_server'
  group by 1, server, tool, kind, subject, agent, model
  order by 1, server, tool, kind, subject, agent, model -- in one order, as batches of several gateways meet
  on conflict (at, server, tool, kind, subject, agent, model) do update set
    calls = u.calls + excluded.calls,
    allowed = u.allowed + excluded.allowed,
    denied = u.denied + excluded.denied,
    held = u.held + excluded.held,
    failed = u.failed + excluded.failed,
    errors = u.errors + excluded.errors,
    request_tokens = u.request_tokens + excluded.request_tokens,
    response_tokens = u.response_tokens + excluded.response_tokens,
    request_bytes = u.request_bytes + excluded.request_bytes,
    response_bytes = u.response_bytes + excluded.response_bytes,
    duration_us = u.duration_us + excluded.duration_us,
    upstream_us = u.upstream_us + excluded.upstream_us,
    added_us = u.added_us + excluded.added_us,
    took = add_steps(u.took, excluded.took), added = add_steps(u.added, excluded.added),
    last_at = greatest(u.last_at, excluded.last_at), used_at = greatest(u.used_at, excluded.used_at);
  insert into tool_usage (server, tool, kind, last_at)
  select server, tool, kind, least(max(at), clock_timestamp())
  from recorded
  where reason <> 'unknown_server'
  group by server, tool, kind
  order by server, tool, kind
  on conflict (server, tool, kind) do update set last_at = excluded.last_at where tool_usage.last_at < excluded.last_at;
  insert into unknown_servers as u (name, gateway_id, calls, subject, agent, first_at, last_at)
  select server, gateway_id, count(*), (array_agg(subject order by at desc))[1], (array_agg(agent order by at desc))[1], min(at), max(at)
  from recorded
  where reason = 'unknown_server'
  group by server, gateway_id
  order by server, gateway_id
  on conflict (name, gateway_id) do update set
    calls = u.calls + excluded.calls, first_at = least(u.first_at, excluded.first_at), last_at = greatest(u.last_at, excluded.last_at),
    subject = case when excluded.last_at >= u.last_at then excluded.subject else u.subject end,
    agent = case when excluded.last_at >= u.last_at then excluded.agent else u.agent end;
  return null;
end $$;
create trigger call_records_add_up after insert on call_records referencing new table as recorded for each statement execute function add_up_calls();

insert into call_records (call_id, gateway_id, at, server, tool, kind, decision, reason, subject, agent, model, revision,
                          request_bytes, response_bytes, duration_us, received_at)
select call_id, gateway_id, at, server, tool, kind, decision, reason, subject, agent, model, revision,
       request_bytes, response_bytes, duration_us, received_at
from calls where at between clock_timestamp() - interval '400 days' and clock_timestamp() + interval '14 days';
create function copy_call() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  insert into call_records (call_id, gateway_id, at, server, tool, kind, decision, reason, subject, agent, model, revision,
                            request_bytes, response_bytes, duration_us, received_at)
  values (new.call_id, new.gateway_id, new.at, new.server, new.tool, new.kind, new.decision, new.reason, new.subject, new.agent,
          new.model, new.revision, new.request_bytes, new.response_bytes, new.duration_us, new.received_at)
  on conflict do nothing;
  return null;
exception when check_violation then return null; -- of a time that is not kept
end $$;
create trigger calls_copied after insert on calls for each row execute function copy_call();

-- What a model costs, by glob of its name; the longest that matches counts. In millionths of the currency for a million
-- tokens, as people write it with up to six decimals.
create table model_prices (
  id              text primary key default new_id('prc'),
  model           text not null check (length(model) between 1 and 200),
  currency        text not null check (currency ~ '^[A-Z]{3}$'),
  input_micros    bigint not null check (input_micros between 0 and 1000000000000),   -- what the model reads: results
  output_micros   bigint not null check (output_micros between 0 and 1000000000000),  -- what it writes: arguments
  version         bigint not null default 1,
  created_by      text not null,
  created_at      timestamptz not null default clock_timestamp(),
  changed_at      timestamptz not null default clock_timestamp(),
  ended_at        timestamptz,
  ended_by        text not null default ''
);
create unique index model_prices_one on model_prices (lower(model)) where ended_at is null;

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
  acknowledged_by text not null default '',
  acknowledged_at timestamptz,
  closed_at       timestamptz,
  closed_by       text not null default ''           -- "": by itself, as it did not happen again
);
create unique index alerts_open on alerts (rule_id, about) where state <> 'closed';
create index alerts_recent on alerts (fired_at desc, id desc);
create trigger alerts_terminal before update of state on alerts for each row execute function refuse_leaving_terminal('closed');

insert into alert_rules (id, name, kind, params, urgent, created_by) values
  ('alr_session', 'More than 100 calls a minute from one session', 'session_rate', '{"calls": 100, "seconds": 60}', false, 'installation');

grant select, insert, update on agent_keys, usage_hours, usage_days, model_prices, unknown_servers, alert_rules, alerts to countersign_runtime;
grant select, insert on call_records to countersign_runtime;
grant delete on usage_hours, usage_days, unknown_servers to countersign_runtime;
