#!/usr/bin/env bash
# Two roles for one database, created when the volume is new: one owns the schema and migrates it, the other sells.
#
# `flash_sale` may only read and write rows: ensure_partitions(), which runs with its owner's rights, creates partitions.
# Default privileges cover what the owner will create, so a migration needs no grants of its own.

set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<'SQL'
-- Read here instead of passed as arguments, which every process can see.
\set owner_password `cat /run/secrets/owner_password`
\set service_password `cat /run/secrets/service_password`

-- Keeps the passwords out of the server's log if a statement below fails.
SET log_min_error_statement = panic;

CREATE ROLE flash_sale_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE flash_sale LOGIN PASSWORD :'service_password';

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
