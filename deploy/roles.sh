#!/usr/bin/env bash
# Runs once, in an empty cluster: one role owns and migrates the database, a lesser one serves.
set -euo pipefail
keys=${KEYS:-/keys}

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
  --set owner_password="$(cat "$keys/countersign_owner")" --set server_password="$(cat "$keys/countersign_server")" <<'SQL'
create role countersign_owner login password :'owner_password';
create role countersign_runtime nologin;
create role countersign_server login password :'server_password' in role countersign_runtime;
create database countersign owner countersign_owner;
revoke all on database countersign from public;
grant connect on database countersign to countersign_server;
SQL
