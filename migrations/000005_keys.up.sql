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
