-- For development only: the sums that pages read are kept in usage_days as well.
delete from model_prices p where exists (select from model_prices q where lower(q.model) = lower(p.model) and q.valid_from > p.valid_from and q.ended_at is null);
drop index model_prices_one;
alter table model_prices drop column valid_from;
create unique index model_prices_one on model_prices (lower(model)) where ended_at is null;
drop table usage_parts;
drop index usage_days_subject, usage_days_agent, call_records_asked;
create or replace function add_up_calls() returns trigger language plpgsql as $$
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
