#!/usr/bin/env bash
# Two roles for one database, made when the volume is new: one owns the schema and migrates it, the other sells.
#
# `flash_sale` may read and write rows, and no more: partitions are made through ensure_partitions(), which runs with its
# owner's rights. What the owner will create is granted ahead, so a migration needs no grants of its own.

set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<'SQL'
-- Read here rather than given as arguments, which every process can see.
\set owner_password `cat /run/secrets/owner_password`
\set service_password `cat /run/secrets/service_password`

-- Not in the server's log, if anything below should fail.
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
