#!/usr/bin/env bash
# What Compose does with the secrets before PostgreSQL starts, and after.
#
#   roles.sh check NAME...   fails unless each of these secrets is one line that every user can read
#   roles.sh                 gives the database its two roles, and the passwords of today's secrets
#
# Both run at every `docker compose up`. Repeating them changes nothing, so a second `up` mends a volume whose roles are
# missing or have other passwords, and gives changed secrets to the database.
#
# One role owns the schema and migrates it, the other sells. `flash_sale` may only read and write rows: ensure_partitions(),
# which runs with its owner's rights, creates partitions. Default privileges cover what the owner will create, so a migration
# needs no grants of its own.

set -euo pipefail

die() {
  printf 'roles: %s\n' "$*" >&2
  exit 1
}

# Sets `secret`.
read_secret() { # NAME
  local file=/run/secrets/$1 lines=()
  local where="the secret $1: the file $1 in the folder of the secrets (FLASH_SALE_SECRETS, else deploy/secrets/development)"
  [ -e "$file" ] || die "$where is missing"
  [ -f "$file" ] || die "$where is no file"
  [ -r "$file" ] || die "$where cannot be read by the containers' users, none of which is root: chmod 0444 $1"
  mapfile -t lines <"$file"
  [ "${#lines[@]}" -le 1 ] || die "$where has several lines; it must be one"
  secret=${lines[0]:-}
  [[ $secret =~ [^[:space:]] ]] || die "$where is empty"
  [[ ! $secret =~ [[:cntrl:]] ]] || die "$where has a control character, such as the carriage return of another system's line ends"
}

if [ "${1:-}" = check ]; then
  shift
  for name in "$@"; do read_secret "$name"; done
  echo "roles: these secrets are one line each: $*"
  exit
fi

# In the environment, which only this user's processes can read, and not among the arguments, which every process can.
read_secret postgres_password
export POSTGRES_SECRET=$secret
read_secret owner_password
export OWNER_SECRET=$secret
read_secret service_password
export SERVICE_SECRET=$secret

# Over the Unix socket, where PostgreSQL trusts its own user: the only way to a volume that has another superuser's password.
psql --no-psqlrc --quiet --no-password --set ON_ERROR_STOP=1 --single-transaction \
  --host=/var/run/postgresql --username=postgres --dbname=flash_sale <<'SQL'
\getenv postgres_password POSTGRES_SECRET
\getenv owner_password OWNER_SECRET
\getenv service_password SERVICE_SECRET

-- Keeps the passwords out of the server's log if a statement below fails, and repetitions out of this one.
SET log_min_error_statement = panic;
SET client_min_messages = warning;

DO $$
BEGIN
    IF to_regrole('flash_sale_owner') IS NULL THEN
        CREATE ROLE flash_sale_owner;
    END IF;
    IF to_regrole('flash_sale') IS NULL THEN
        CREATE ROLE flash_sale;
    END IF;
END
$$;
ALTER ROLE postgres PASSWORD :'postgres_password';
ALTER ROLE flash_sale_owner LOGIN PASSWORD :'owner_password';
ALTER ROLE flash_sale LOGIN PASSWORD :'service_password';

ALTER DATABASE :"DBNAME" OWNER TO flash_sale_owner;
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO flash_sale;

ALTER SCHEMA public OWNER TO flash_sale_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO flash_sale;

ALTER DEFAULT PRIVILEGES FOR ROLE flash_sale_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO flash_sale;
ALTER DEFAULT PRIVILEGES FOR ROLE flash_sale_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO flash_sale;
ALTER DEFAULT PRIVILEGES FOR ROLE flash_sale_owner IN SCHEMA public
    GRANT EXECUTE ON FUNCTIONS TO flash_sale;
SQL
echo "roles: flash_sale_owner and flash_sale are there, with the passwords of the secrets"
