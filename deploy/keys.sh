#!/usr/bin/env bash
# Makes what the containers keep secret, unless it is there already: the key that seals what the database holds, and
# the passwords of its roles. Root's group may read it; the containers are members.
set -euo pipefail
umask 027
cd "${1:-/keys}"

random() { head --bytes="$1" /dev/urandom | base64 --wrap=0; }
password() { random 24 | tr '+/' '-_'; }
pgpass() { for role in countersign_owner countersign_server; do echo "*:*:countersign:$role:$(cat "$role")"; done; }

# once FILE COMMAND… writes what the command says, whole or not at all.
once() {
  [ ! -e "$1" ] || return 0
  "${@:2}" >"$1.new"
  mv "$1.new" "$1"
}

once key random 32
for role in postgres countersign_owner countersign_server; do once "$role" password; done
once pgpass pgpass
