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
