-- Whoever stores records waits until they are all added up, and then finds the new function.
lock table call_records, usage_hours, usage_days in share row exclusive mode;

-- Calls that ended because the server asked the client for what it may not: few, and looked for by server.
create index call_records_asked on call_records (server, at) where reason = 'client_request_denied';

-- What the calls of an hour or a day add up to, told apart by one of their names or by few, where usage_hours and
-- usage_days have a row for each combination of all: what a page shows is read from hundreds of rows instead of hundreds of thousands. Both are written by
-- the same statement. The names that a part does not tell apart are ''.
create table usage_parts (
  step            text not null check (step in ('hour', 'day')),
  at              timestamptz not null,        -- when it begins, in UTC
  part            text not null check (part in ('all', 'server', 'tool', 'agent', 'tool_agent', 'subject')),
  server          text not null,               -- of the parts server, tool and tool_agent
  tool            text not null,
  agent           text not null,
  subject         text not null,
  kind            text not null,               -- of each part
  model           text not null,
  calls           bigint not null,
  allowed         bigint not null,
  denied          bigint not null,
  held            bigint not null,
  failed          bigint not null,
  errors          bigint not null,
  request_tokens  bigint not null,
  response_tokens bigint not null,
  took            integer[] not null check (cardinality(took) = 19),
  added           integer[] not null check (cardinality(added) = 19),
  last_at         timestamptz not null,
  primary key (step, part, at, server, tool, agent, subject, kind, model)
) with (fillfactor = 60);
alter table usage_parts alter took set storage plain, alter added set storage plain;
grant select, insert, update, delete on usage_parts to countersign_runtime;
create index usage_days_subject on usage_days (subject, at);
create index usage_days_agent on usage_days (agent, at);

insert into usage_parts (step, at, part, server, tool, agent, subject, kind, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, took, added, last_at)
select step, at, case grouping(server, tool, agent, subject) when 15 then 'all' when 7 then 'server' when 3 then 'tool' when 13 then 'agent' when 1 then 'tool_agent' else 'subject' end,
       coalesce(server, ''), coalesce(tool, ''), coalesce(agent, ''), coalesce(subject, ''), kind, model, sum(calls), sum(allowed), sum(denied), sum(held), sum(failed), sum(errors), sum(request_tokens), sum(response_tokens),
       array[sum(took[1]), sum(took[2]), sum(took[3]), sum(took[4]), sum(took[5]), sum(took[6]), sum(took[7]), sum(took[8]), sum(took[9]), sum(took[10]), sum(took[11]), sum(took[12]), sum(took[13]), sum(took[14]), sum(took[15]), sum(took[16]), sum(took[17]), sum(took[18]), sum(took[19])],
       array[sum(added[1]), sum(added[2]), sum(added[3]), sum(added[4]), sum(added[5]), sum(added[6]), sum(added[7]), sum(added[8]), sum(added[9]), sum(added[10]), sum(added[11]), sum(added[12]), sum(added[13]), sum(added[14]), sum(added[15]), sum(added[16]), sum(added[17]), sum(added[18]), sum(added[19])],
       max(last_at)
from (select 'hour' as step, at, server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, took, added, last_at from usage_hours
      union all
      select 'day', at, server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, took, added, last_at from usage_days) u
group by step, at, kind, model, grouping sets ((), (server), (server, tool), (agent), (server, tool, agent), (subject));

-- Adds up records that are new, whoever wrote them: once for each hour and combination of names, and from that what is
-- less fine. No clock makes a tool used in the future, and no time of a call counts for more than an hour.
create or replace function add_up_calls() returns trigger language plpgsql as $$
begin
  with fine as materialized (
    select date_trunc('hour', c.at, 'UTC') as hour, date_trunc('day', c.at, 'UTC') as day, server, tool, kind, subject, agent, model,
           count(*) as calls, count(*) filter (where decision = 'allowed') as allowed, count(*) filter (where decision = 'denied') as denied,
           count(*) filter (where decision = 'held') as held, count(*) filter (where decision = 'failed') as failed,
           count(*) filter (where decision = 'allowed' and tool_error) as errors, sum(request_tokens) as request_tokens,
           sum(response_tokens) as response_tokens, sum(request_bytes) as request_bytes, sum(response_bytes) as response_bytes,
           coalesce(sum(s.lasted) filter (where s.took is not null), 0) as duration_us,
           coalesce(sum(s.upstream) filter (where s.took is not null), 0) as upstream_us,
           coalesce(sum(s.lasted - s.upstream) filter (where s.added is not null), 0) as added_us,
           array[count(*) filter (where s.took = 0), count(*) filter (where s.took = 1), count(*) filter (where s.took = 2), count(*) filter (where s.took = 3), count(*) filter (where s.took = 4), count(*) filter (where s.took = 5), count(*) filter (where s.took = 6),
         count(*) filter (where s.took = 7), count(*) filter (where s.took = 8), count(*) filter (where s.took = 9), count(*) filter (where s.took = 10), count(*) filter (where s.took = 11), count(*) filter (where s.took = 12),
         count(*) filter (where s.took = 13), count(*) filter (where s.took = 14), count(*) filter (where s.took = 15), count(*) filter (where s.took = 16), count(*) filter (where s.took = 17), count(*) filter (where s.took = 18)] as took,
           array[count(*) filter (where s.added = 0), count(*) filter (where s.added = 1), count(*) filter (where s.added = 2), count(*) filter (where s.added = 3), count(*) filter (where s.added = 4), count(*) filter (where s.added = 5), count(*) filter (where s.added = 6),
         count(*) filter (where s.added = 7), count(*) filter (where s.added = 8), count(*) filter (where s.added = 9), count(*) filter (where s.added = 10), count(*) filter (where s.added = 11), count(*) filter (where s.added = 12),
         count(*) filter (where s.added = 13), count(*) filter (where s.added = 14), count(*) filter (where s.added = 15), count(*) filter (where s.added = 16), count(*) filter (where s.added = 17), count(*) filter (where s.added = 18)] as added,
           max(c.at) as last_at, max(c.at) filter (where s.took is not null) as used_at
    from recorded c, lateral (
      select case when c.decision in ('allowed', 'failed') then usage_step(c.duration_us) end as took,
             case when c.decision in ('allowed', 'failed') and c.upstream_us > 0 then usage_step(c.duration_us - c.upstream_us) end as added,
             least(c.duration_us, 3600000000) as lasted, least(c.upstream_us, c.duration_us, 3600000000) as upstream
      offset 0) s -- once for each record, not for each count
    where c.reason <> 'unknown_server'
    group by 1, 2, server, tool, kind, subject, agent, model
  ), days as (
    insert into usage_days as u (at, server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, request_bytes, response_bytes, duration_us, upstream_us, added_us, took, added, last_at, used_at)
    select day, server, tool, kind, subject, agent, model, sum(calls), sum(allowed), sum(denied), sum(held), sum(failed), sum(errors), sum(request_tokens), sum(response_tokens), sum(request_bytes), sum(response_bytes), sum(duration_us), sum(upstream_us), sum(added_us),
           array[sum(took[1]), sum(took[2]), sum(took[3]), sum(took[4]), sum(took[5]), sum(took[6]), sum(took[7]), sum(took[8]), sum(took[9]), sum(took[10]), sum(took[11]), sum(took[12]), sum(took[13]), sum(took[14]), sum(took[15]), sum(took[16]), sum(took[17]), sum(took[18]), sum(took[19])],
           array[sum(added[1]), sum(added[2]), sum(added[3]), sum(added[4]), sum(added[5]), sum(added[6]), sum(added[7]), sum(added[8]), sum(added[9]), sum(added[10]), sum(added[11]), sum(added[12]), sum(added[13]), sum(added[14]), sum(added[15]), sum(added[16]), sum(added[17]), sum(added[18]), sum(added[19])],
           max(last_at), max(used_at)
    from fine
    group by day, server, tool, kind, subject, agent, model
    order by day, server, tool, kind, subject, agent, model
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
      last_at = greatest(u.last_at, excluded.last_at), used_at = greatest(u.used_at, excluded.used_at)
  ), few as materialized (
    select hour, day, case grouping(server, tool, agent, subject) when 15 then 'all' when 7 then 'server' when 3 then 'tool' when 13 then 'agent' when 1 then 'tool_agent' else 'subject' end as part,
           coalesce(server, '') as server, coalesce(tool, '') as tool, coalesce(agent, '') as agent, coalesce(subject, '') as subject, kind, model,
           sum(calls) as calls, sum(allowed) as allowed, sum(denied) as denied, sum(held) as held, sum(failed) as failed, sum(errors) as errors, sum(request_tokens) as request_tokens, sum(response_tokens) as response_tokens,
           array[sum(took[1]), sum(took[2]), sum(took[3]), sum(took[4]), sum(took[5]), sum(took[6]), sum(took[7]), sum(took[8]), sum(took[9]), sum(took[10]), sum(took[11]), sum(took[12]), sum(took[13]), sum(took[14]), sum(took[15]), sum(took[16]), sum(took[17]), sum(took[18]), sum(took[19])] as took,
           array[sum(added[1]), sum(added[2]), sum(added[3]), sum(added[4]), sum(added[5]), sum(added[6]), sum(added[7]), sum(added[8]), sum(added[9]), sum(added[10]), sum(added[11]), sum(added[12]), sum(added[13]), sum(added[14]), sum(added[15]), sum(added[16]), sum(added[17]), sum(added[18]), sum(added[19])] as added,
           max(last_at) as last_at
    from fine
    group by hour, day, kind, model, grouping sets ((), (server), (server, tool), (agent), (server, tool, agent), (subject))
  ), parts as (
    insert into usage_parts as u (step, at, part, server, tool, agent, subject, kind, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, took, added, last_at)
    select 'hour' as step, hour as at, part, server, tool, agent, subject, kind, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, took, added, last_at
    from few
    union all
    select 'day', day, part, server, tool, agent, subject, kind, model, sum(calls), sum(allowed), sum(denied), sum(held), sum(failed), sum(errors), sum(request_tokens), sum(response_tokens),
           array[sum(took[1]), sum(took[2]), sum(took[3]), sum(took[4]), sum(took[5]), sum(took[6]), sum(took[7]), sum(took[8]), sum(took[9]), sum(took[10]), sum(took[11]), sum(took[12]), sum(took[13]), sum(took[14]), sum(took[15]), sum(took[16]), sum(took[17]), sum(took[18]), sum(took[19])],
           array[sum(added[1]), sum(added[2]), sum(added[3]), sum(added[4]), sum(added[5]), sum(added[6]), sum(added[7]), sum(added[8]), sum(added[9]), sum(added[10]), sum(added[11]), sum(added[12]), sum(added[13]), sum(added[14]), sum(added[15]), sum(added[16]), sum(added[17]), sum(added[18]), sum(added[19])],
           max(last_at)
    from few
    group by day, part, server, tool, agent, subject, kind, model
    order by step, at, part, server, tool, agent, subject, kind, model
    on conflict (step, part, at, server, tool, agent, subject, kind, model) do update set
      calls = u.calls + excluded.calls,
      allowed = u.allowed + excluded.allowed,
      denied = u.denied + excluded.denied,
      held = u.held + excluded.held,
      failed = u.failed + excluded.failed,
      errors = u.errors + excluded.errors,
      request_tokens = u.request_tokens + excluded.request_tokens,
      response_tokens = u.response_tokens + excluded.response_tokens,
      took = add_steps(u.took, excluded.took), added = add_steps(u.added, excluded.added),
      last_at = greatest(u.last_at, excluded.last_at)
  )
  insert into usage_hours as u (at, server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, request_bytes, response_bytes, duration_us, upstream_us, added_us, took, added, last_at, used_at)
  select hour, server, tool, kind, subject, agent, model, calls, allowed, denied, held, failed, errors, request_tokens, response_tokens, request_bytes, response_bytes, duration_us, upstream_us, added_us, took, added, last_at, used_at
  from fine
  order by hour, server, tool, kind, subject, agent, model -- each in one order, as batches of several gateways meet
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

-- A price counts from a day of UTC on, until the next one of the same glob. Those that are there have always counted.
alter table model_prices add column valid_from date not null default '0001-01-01';
drop index model_prices_one;
create unique index model_prices_one on model_prices (lower(model), valid_from) where ended_at is null;
