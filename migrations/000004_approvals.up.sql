-- The second signature, complete: who else may decide and when, what exactly was approved, emergencies and their
-- reviews, who owns which agent, and what is told to whom.

-- Agents ---------------------------------------------------------------------------------------------

-- Who answers for an agent: an OAuth client as tokens name it. Its owner never approves its calls.
create table agents (
  id         text primary key default new_id('agt'),
  agent      text not null check (length(agent) between 1 and 200),
  name       text not null check (length(name) between 1 and 200),
  owner_id   text not null references people,
  note       text not null default '' check (length(note) <= 2000),
  version    bigint not null default 1,
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  changed_at timestamptz not null default clock_timestamp(),
  ended_at   timestamptz,
  ended_by   text not null default ''
);
create unique index agents_one on agents (agent) where ended_at is null;
create index agents_owner on agents (owner_id) where ended_at is null;

-- How people signed in: the context class that the provider named. '' where it named none.
alter table sessions add column acr text not null default '';
alter table votes add column acr text not null default '';
-- What a sign-in under way has to prove, and who has to: the person of the session that it was begun from.
alter table signins
  add column person_id text references people,
  add column max_age_seconds integer check (max_age_seconds >= 0), -- 0: only a new authentication; null: any
  add column acr_values text[] not null default '{}';

-- Requests -------------------------------------------------------------------------------------------

-- What one decision allows beyond the exact call: some more calls of the same caller to the same pinned tool, whose
-- arguments are the approved ones but for those named free. Each use is a request of its own with its own token.
create table allowances (
  id                text primary key default new_id('alw'),
  approval_id       text not null constraint allowances_one unique references approvals,
  epoch             bigint not null,
  generation        bigint not null,                   -- evaluated at
  gateway_id        text not null references gateways,
  server_id         text not null references servers,
  caller_issuer     text not null,
  caller_subject    text not null,
  pattern_digest    bytea not null check (octet_length(pattern_digest) = 32), -- of the call without its free arguments
  free              text[] not null default '{}',  -- names of arguments that may differ, sorted
  uses              integer not null check (uses between 1 and 1000),         -- beside the call that was approved itself
  used              integer not null default 0,
  state             text not null default 'open' check (state in ('open', 'used_up', 'expired', 'revoked')),
  state_reason      text not null default '',
  created_at        timestamptz not null default clock_timestamp(),
  expires_at        timestamptz not null,
  ended_at          timestamptz,
  ended_by          text not null default '',
  constraint allowances_used check (used between 0 and uses),
  constraint allowances_ended check ((state = 'open') = (ended_at is null))
);
create index allowances_open on allowances (gateway_id, server_id, caller_issuer, caller_subject) where state = 'open';
create index allowances_due on allowances (expires_at) where state = 'open';
create index allowances_recent on allowances (created_at desc, id desc);
create trigger allowances_terminal before update of state on allowances
  for each row execute function refuse_leaving_terminal('used_up', 'expired', 'revoked');

alter table approvals
  add column terms        jsonb not null default '{}',      -- policy.Approval that holds the call, teams in full
  add column escalate_at  timestamptz,                      -- when the fallback is asked as well; null: never, or it was
  add column escalated_at timestamptz,
  add column granters     text[] not null default '{}',     -- people who made the grant, where they may not approve
  add column scope        jsonb,                            -- what was approved beside this very call; null: nothing
  add column allowance_id text references allowances,       -- approved by an earlier decision
  add column emergency    boolean not null default false,   -- approved by one person who broke the glass
  add column revealed_at  timestamptz,                      -- its caller was shown the token
  add column purged_at    timestamptz,                      -- call and principal are gone
  add constraint approvals_purged check (purged_at is null or (octet_length(call) = 0 and octet_length(principal) = 0));
update approvals set terms = jsonb_build_object('quorum', quorum, 'deny_quorum', deny_quorum, 'teams', team_ids);
alter table approvals alter column terms drop default; -- nobody can meet terms that say nothing
create index approvals_to_escalate on approvals (escalate_at) where state = 'pending' and escalate_at is not null;
create index approvals_to_purge on approvals (changed_at) where purged_at is null and state not in ('pending', 'approved');
create index approvals_of_caller on approvals (caller_issuer, caller_subject, created_at desc);
create index approvals_of_allowance on approvals (allowance_id) where allowance_id is not null;
create index approvals_of_tool on approvals (tool_id, created_at desc);
alter table votes
  add column scope     jsonb,                               -- what this vote allows beside the very call
  add column emergency boolean not null default false;

-- When a person who may decide first saw a request: how long people take, and whether anybody looks.
create table approval_views (
  approval_id text not null references approvals,
  person_id   text not null references people,
  first_at    timestamptz not null default clock_timestamp(),
  constraint approval_views_once primary key (approval_id, person_id)
);

-- An emergency approval stays on the table until another person has looked at it.
create table reviews (
  id          text primary key default new_id('rvw'),
  approval_id text not null constraint reviews_one unique references approvals,
  opened_by   text not null references people,
  reason      text not null check (length(reason) between 1 and 2000),
  ticket      text not null check (length(ticket) between 1 and 200),
  opened_at   timestamptz not null default clock_timestamp(),
  due_at      timestamptz not null,
  told_at     timestamptz,                          -- when people were told last that it is overdue
  closed_at   timestamptz,
  closed_by   text references people,
  finding     text check (finding in ('justified', 'not_justified')),
  note        text not null default '' check (length(note) <= 2000),
  constraint reviews_by_another check (closed_by <> opened_by),
  constraint reviews_closed check ((closed_at is null) = (closed_by is null) and (closed_at is null) = (finding is null))
);
create index reviews_open on reviews (due_at) where closed_at is null;
create index reviews_recent on reviews (opened_at desc, id desc);

-- Notifications --------------------------------------------------------------------------------------

-- Where people are told: a webhook, a chat or mail. What is secret is sealed.
create table channels (
  id             text primary key default new_id('chn'),
  name           text not null check (length(name) between 1 and 200),
  kind           text not null check (kind in ('webhook', 'slack', 'email')),
  team_id        text references teams,             -- only what this team is asked; null: everything
  topics         text[] not null check (cardinality(topics) > 0),
  target         bytea not null,                    -- sealed: the address or addresses
  shown          text not null,                     -- what may be shown of it
  secrets        bytea,                             -- sealed: the signing secrets of a webhook
  overlap_until  timestamptz,                       -- the secret before the present one signs as well until then
  digest_seconds integer not null default 0 check (digest_seconds between 0 and 86400),
  version        bigint not null default 1,
  created_by     text not null,
  created_at     timestamptz not null default clock_timestamp(),
  changed_at     timestamptz not null default clock_timestamp(),
  paused_at      timestamptz,
  paused_because text not null default '',
  failures       integer not null default 0,        -- attempts without success since the last success
  failing_since  timestamptz,
  delivered_at   timestamptz,
  last_error     text not null default '',
  alive_at       timestamptz,                       -- when it was last told that the notifier lives
  ended_at       timestamptz,
  ended_by       text not null default ''
);
create unique index channels_name on channels (lower(name)) where ended_at is null;

-- The outbox: written in the transaction of what it tells about, with ids and names only.
create table notices (
  id          bigint generated always as identity primary key,
  at          timestamptz not null default clock_timestamp(),
  topic       text not null,
  approval_id text references approvals,
  team_ids    text[] not null default '{}',
  urgent      boolean not null default false,
  data        jsonb not null default '{}',
  taken_at    timestamptz                           -- deliveries were made of it
);
create index notices_new on notices (id) where taken_at is null;

-- One message to one channel. Its id stays the same over all attempts, so that receivers can tell a repetition; one that
-- is delivered again by hand is a new row with the id of the first in again_of. due_at is also the lease of whoever
-- delivers it: it is moved ahead before an attempt.
create table deliveries (
  id          text primary key default new_id('msg'),
  channel_id  text not null references channels,
  about       text not null default 'notices' check (about in ('notices', 'test', 'alive')),
  notice_ids  bigint[] not null default '{}',
  again_of    text not null default '',
  collecting  boolean not null default false,       -- a digest that takes in what happens until it is due
  state       text not null default 'waiting' check (state in ('waiting', 'delivered', 'failed', 'cancelled')),
  attempts    integer not null default 0,
  due_at      timestamptz not null default clock_timestamp(),
  created_by  text not null default '',             -- who asked for it by hand
  created_at  timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  constraint deliveries_finished check ((state = 'waiting') = (finished_at is null)),
  constraint deliveries_collecting check (not collecting or state = 'waiting')
);
create unique index deliveries_one_digest on deliveries (channel_id) where collecting;
create index deliveries_due on deliveries (channel_id, due_at) where state = 'waiting';
create index deliveries_of on deliveries (channel_id, created_at desc, id desc);
create trigger deliveries_terminal before update of state on deliveries
  for each row execute function refuse_leaving_terminal('delivered', 'failed', 'cancelled');

create table delivery_attempts (
  delivery_id text not null references deliveries,
  attempt     integer not null,
  at          timestamptz not null default clock_timestamp(),
  status      integer not null default 0,           -- of HTTP; 0: there was no answer
  error       text not null default '',
  took_ms     integer not null default 0,
  constraint delivery_attempts_once primary key (delivery_id, attempt)
);

-- The notifier lives: one row, touched by each pass.
create table notifier (
  one     boolean primary key default true check (one),
  beat_at timestamptz not null default clock_timestamp(),
  beat_by text not null default ''
);
insert into notifier default values;

grant select, insert, update on agents, allowances, approval_views, reviews, channels, notices, deliveries, delivery_attempts, notifier
  to countersign_runtime;
grant delete on notices, deliveries, delivery_attempts to countersign_runtime;
grant usage on all sequences in schema public to countersign_runtime;
