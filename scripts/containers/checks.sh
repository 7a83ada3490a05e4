# Sourced by scripts/containers.sh: what the image and the files of Compose promise.
# shellcheck shell=bash
: "${folder?}" "${program?}"

readonly built=flash-sale:local program_image=flash-sale-program:local
# With what there is beside the program: some 15 MB of C library, certificates and time zones.
readonly image_bytes=45000000 rest_bytes=18000000

compose() { quiet docker compose "$@"; }

# --- the image ------------------------------------------------------------------------------------------------------------

# The names that the files have, so that no list of them can differ.
named_images() {
  docker compose --file docker-compose.yml config --images | grep -vx "$built"
  sed -n 's/^ARG RUNTIME=//p' Dockerfile
  [ -n "$program" ] || sed -n 's/^FROM \(rust:[^ ]*\).*/\1/p' Dockerfile
}

provide_images() {
  local one stage=build left_out=()
  for one in $(named_images | sort -u); do
    pull "$one" || stand_in "$one" || left_out+=("$one")
    [[ $one != rust:* ]] || add_crates "$one"
  done
  if [ -n "$program" ]; then
    import_program "$program" "$program_image"
    stage=$program_image
  fi
  for one in "${left_out[@]}"; do [[ $one == grafana/* ]] || cannot "$one can neither be pulled nor stood in for"; done
  write_own_file "$stage" "${left_out[@]}"
  export COMPOSE_FILE=docker-compose.yml:$folder/own.yml
  seen "images: stand-ins of Debian for ${stand_ins[*]:-none}; left out: ${left_out[*]:-none}"
}

# What this run lacks or has already: the page's commands get it beside the files' own lines.
write_own_file() { # STAGE [LEFT-OUT]
  local service limit
  limit=$(ulimit -Hn)
  printf 'services:\n  migrate:\n    build:\n      args:\n        PROGRAM: %s\n' "$1" >"$folder/own.yml"
  # A profile that is not asked for.
  [ -z "${2:-}" ] || printf '  grafana:\n    profiles: [left-out]\n' >>"$folder/own.yml"
  # A machine where even root may not open as many files as the files ask for.
  if [ "$limit" != unlimited ] && [ "$limit" -lt 65536 ]; then
    for service in flash-sale-1 flash-sale-2 load-balancer; do
      printf '  %s:\n    ulimits:\n      nofile: %s\n' "$service" "$limit" >>"$folder/own.yml"
    done
  fi
}

image_id() { docker image inspect --format '{{.Id}}' "$built"; }
label() { docker image inspect --format "{{index .Config.Labels \"org.opencontainers.image.$1\"}}" "$built"; }

build_image() {
  local begun=$SECONDS
  FLASH_SALE_REVISION=first FLASH_SALE_SOURCE=https://shop.example/source compose build
  seen "docker compose build: $((SECONDS - begun)) s${program:+, with the program of $program}"
}

the_image_is_small_and_says_what_it_is() {
  local bytes own container
  bytes=$(docker image inspect --format '{{.Size}}' "$built")
  container=$(docker create "$built")
  docker cp "$container:/usr/local/bin/flash-sale" "$folder/flash-sale" >/dev/null 2>&1
  docker rm "$container" >/dev/null
  own=$(stat --format %s "$folder/flash-sale")
  rm "$folder/flash-sale"
  [ $((bytes - own)) -le "$rest_bytes" ] || die "the image has $((bytes - own)) bytes beside the program, more than $rest_bytes"
  # A program without optimisation is several times as large.
  case $program in
    */debug/*) ;;
    *) [ "$bytes" -le "$image_bytes" ] || die "the image has $bytes bytes, more than $image_bytes" ;;
  esac
  expect "the image's user" "$(docker image inspect --format '{{.Config.User}}' "$built")" 65532:65532
  expect "the label title" "$(label title)" flash-sale
  expect "the label version" "$(label version)" "$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)"
  expect "the label licenses" "$(label licenses)" "$(sed -n 's/^license = "\(.*\)"/\1/p' Cargo.toml)"
  expect "the label description" "$(label description)" "$(sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml)"
  expect "the label revision" "$(label revision)" first
  expect "the label source" "$(label source)" https://shop.example/source
  if docker run --rm --network none --entrypoint /bin/sh "$built" -c true >/dev/null 2>&1; then die "the image has a shell"; fi
  seen "the image: $((bytes / 1000000)) MB, of which $((own / 1000000)) the program; labels, user 65532, no shell"
}

a_second_build_changes_nothing() {
  local before
  compose build
  before=$(image_id)
  compose build
  expect "the image's id after a second build" "$(image_id)" "$before"
  seen "a second build leaves the image's id as it is"
}

# --- Compose --------------------------------------------------------------------------------------------------------------

in_service() { # SERVICE COMMAND...
  docker compose exec --no-TTY "$@"
}

# Over the network of the data, where PostgreSQL asks for a password, as a role of the database.
psql_as() { # ROLE SECRET SQL
  docker compose exec --no-TTY --env "PGPASSWORD=$(cat "$FLASH_SALE_SECRETS/$2")" postgres \
    psql --no-psqlrc --no-align --tuples-only --quiet --host postgres --username "$1" --dbname flash_sale --command "$3" 2>&1
}

psql_inside() { # SQL
  in_service postgres psql --no-psqlrc --no-align --tuples-only --quiet --username postgres --dbname flash_sale --command "$1"
}

the_page_brings_development_up() {
  from_page development
  expect_in "the audit of a new installation" "$(cat "$folder/output")" '"ok":true'
  expect "containers after \`down\`" "$(docker ps --all --quiet)" ''
  seen "the page's commands bring development up, create a sale, audit it, and end it"
}

# Each fault, and what the sentence about it says.
spoil() { # FAULT FILE
  case $1 in
    missing) rm "$2" ;;
    empty) : >"$2" ;;
    blank) echo ' ' >"$2" ;;
    unreadable) chmod 0400 "$2" ;;
    several) printf 'one\ntwo\n' >"$2" ;;
    carriage) printf 'one\r\n' >"$2" ;;
  esac
}
sentence() { # FAULT
  case $1 in
    missing) echo 'does not exist' ;;
    empty | blank) echo 'is empty' ;;
    unreadable) echo 'cannot be read' ;;
    several) echo 'has several lines' ;;
    carriage) echo 'control character' ;;
  esac
}

bad_secrets_are_refused_before_anything_is_made() {
  local fault secret told secrets=$folder/bad
  compose down --volumes
  from_page secrets
  export COMPOSE_FILE=docker-compose.yml:docker-compose.prod.yml:$folder/own.yml
  for fault in missing:owner_password empty:postgres_password blank:service_password unreadable:owner_password \
    several:service_password carriage:grafana_password empty:code_keys; do
    secret=${fault#*:} fault=${fault%:*}
    rm -rf "$secrets"
    cp --archive "$FLASH_SALE_SECRETS" "$secrets"
    spoil "$fault" "$secrets/$secret"
    if FLASH_SALE_SECRETS=$secrets go docker compose up --detach >"$folder/output" 2>&1; then die "a secret that is $fault is accepted"; fi
    told=$(cat "$folder/output"; docker compose logs --no-log-prefix secrets 2>&1)
    expect_in "what is said of a secret that is $fault" "$told" "$secret"
    expect_in "what is said of a secret that is $fault" "$told" "$(sentence "$fault")"
    expect "PostgreSQL's first start with a secret that is $fault" "$(started postgres)" ''
  done
  compose down --volumes
  rm -rf "$secrets"
  seen "a secret that is missing, empty, blank, unreadable, of several lines or with a carriage return is named before PostgreSQL starts"
}

# When a service's container was first started; nothing if it never was.
started() { # SERVICE
  local id
  id=$(docker compose ps --all --quiet "$1")
  [ -z "$id" ] || docker inspect --format '{{.State.StartedAt}}' "$id" | grep -v ^0001 || true
}

the_page_brings_production_up() {
  unset COMPOSE_FILE
  from_page production
  postgres=$(docker compose config --images | grep '^postgres:' | head -n 1)
  expect_in "an instance's settings" "$(docker inspect --format '{{.Config.Env}}' "$(docker compose ps --quiet flash-sale-1)")" FLASH_SALE_ENV=production
  seen "the page's commands make the secrets and bring production up"
}

listening() { on_its_network ss -Hltn | awk '{ print $4 }' | sort -u | tr '\n' ' '; }

nothing_is_published_but_on_loopback() {
  local ports='127.0.0.1:8080 127.0.0.1:9090 '
  ! docker compose ps --services | grep -qx grafana || ports="127.0.0.1:3000 $ports"
  expect "what listens" "$(listening)" "$ports"
  seen "published ports: $ports"
}

# Whether a client on a network reaches a server of Compose.
reaches() { # NETWORK COMMAND...
  docker run --rm --network "flash-sale_$1" --tmpfs /var/lib/postgresql/data "$postgres" timeout 5 "${@:2}" >/dev/null 2>&1
}

address() { # SERVICE NETWORK
  docker inspect --format "{{(index .NetworkSettings.Networks \"flash-sale_$2\").IPAddress}}" "$(docker compose ps --quiet "$1")"
}

only_instances_reach_the_data() {
  local server redis
  server=$(address postgres data) redis=$(address redis data)
  reaches data pg_isready --host "$server" || die "PostgreSQL is not reached on its own network"
  reaches data bash -c "</dev/tcp/$redis/6379" || die "Redis is not reached on its own network"
  if reaches front pg_isready --host "$server"; then die "PostgreSQL is reached from the load balancer's network"; fi
  if reaches front bash -c "</dev/tcp/$redis/6379"; then die "Redis is reached from the load balancer's network"; fi
  if reaches front getent hosts postgres; then die "the load balancer's network knows PostgreSQL's name"; fi
  expect "the networks of PostgreSQL and Redis" "$(for service in postgres redis; do
    docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}' "$(docker compose ps --quiet "$service")"
  done | sort -u)" 'flash-sale_data '
  seen "PostgreSQL and Redis are reached on their own network, and not from the load balancer's"
}

health() { # SERVICE HEALTH
  [ "$(docker inspect --format "{{.State.Health.${3:-Status}}}" "$(docker compose ps --quiet "$1")")" = "$2" ]
}
is_failing() { ! health "$1" 0 FailingStreak; }

a_protected_redis_is_unhealthy() {
  await "a healthy Redis" health redis healthy
  in_service redis redis-cli config set protected-mode yes >/dev/null
  await "a failed check of a Redis in protected mode" is_failing redis
  in_service redis redis-cli config set protected-mode no >/dev/null
  await "a check that Redis passes" health redis 0 FailingStreak
  seen "a Redis that serves nothing but itself fails its health check"
}

# --- roles ----------------------------------------------------------------------------------------------------------------

may() { # ROLE SECRET SQL
  psql_as "$@" >/dev/null || die "$1 may not: $3"
}
may_not() { # ROLE SECRET SQL
  local said
  if said=$(psql_as "$@"); then die "$1 may: $3"; fi
  [[ $said == *'permission denied'* || $said == *'must be owner'* || $said == *'must have CREATEROLE'* ]] || die "$1: $3: $said"
}

roles_have_their_rights_and_no_others() {
  local statement
  may flash_sale service_password 'SELECT count(*) FROM sales'
  may flash_sale service_password 'UPDATE sales SET name = name WHERE false'
  for statement in 'CREATE TABLE mine ()' 'DROP TABLE sales' 'TRUNCATE purchases' 'ALTER TABLE sales ADD mine int' 'CREATE SCHEMA mine' \
    'CREATE ROLE mine' 'SELECT rolpassword FROM pg_authid' "SELECT pg_read_file('PG_VERSION')" 'SET ROLE flash_sale_owner'; do
    may_not flash_sale service_password "$statement"
  done
  may flash_sale_owner owner_password 'CREATE TABLE mine (); DROP TABLE mine'
  for statement in 'CREATE ROLE mine' 'SELECT rolpassword FROM pg_authid' "SELECT pg_read_file('PG_VERSION')" 'SET ROLE postgres'; do
    may_not flash_sale_owner owner_password "$statement"
  done
  may postgres postgres_password 'SELECT rolpassword FROM pg_authid'
  if psql_as flash_sale code_keys 'SELECT 1' >/dev/null; then die "PostgreSQL takes any password"; fi
  seen "flash_sale reads and writes rows, flash_sale_owner defines tables, neither does more, and a wrong password is refused"
}

containers() { docker compose ps --all --format '{{.Service}} {{.ID}}' | sort; }

another_up_mends_passwords_and_replaces_nothing() {
  local before
  before=$(containers)
  psql_inside "ALTER ROLE flash_sale PASSWORD NULL; ALTER ROLE flash_sale_owner PASSWORD 'other'; ALTER ROLE postgres PASSWORD 'other'" >/dev/null
  if psql_as flash_sale service_password 'SELECT 1' >/dev/null; then die "a role without a password is let in"; fi
  compose build
  compose up --detach
  may flash_sale service_password 'SELECT 1'
  may flash_sale_owner owner_password 'SELECT 1'
  may postgres postgres_password 'SELECT 1'
  expect "the containers after another build and \`up\`" "$(containers)" "$before"
  seen "another build and \`up\` mend the passwords of a volume, and replace no container"
}

# --- the end --------------------------------------------------------------------------------------------------------------

no_secret_is_in_a_log() {
  local file secret
  {
    docker compose logs --no-color
    docker ps --all --quiet | xargs docker inspect
    docker history --no-trunc "$built"
  } >"$folder/everything" 2>&1
  [ "$(wc -l <"$folder/everything")" -gt 500 ] || die "there are no logs to look at"
  for file in "$folder"/secrets-seen/* "$FLASH_SALE_SECRETS"/*; do
    for secret in $(tr ',' '\n' <"$file" | sed 's/^[^:]*://'); do
      if grep -qF -- "$secret" "$folder/everything"; then die "the logs or settings of containers contain the secret ${file##*/}"; fi
    done
  done
  # Buyers and their codes, of which the load balancer and the instances have seen thousands.
  if grep -E 'buyer-[a-z_]+-[0-9]|CHK-S-' "$folder/everything" >"$folder/output"; then
    head -n 3 "$folder/output" >&2
    die "the logs name buyers or codes"
  fi
  seen "no secret, buyer or code in $(wc -l <"$folder/everything") lines of logs and settings"
}

down_leaves_named_volumes_alone() {
  compose down
  expect "containers after \`down\`" "$(docker ps --all --quiet)" ''
  expect "volumes without a name after \`down\`" "$(docker volume ls --quiet | grep -v '^flash-sale_' || true)" ''
  compose down --volumes
  expect "volumes after \`down --volumes\`" "$(docker volume ls --quiet)" ''
  seen "\`down\` leaves volumes with a name, and \`down --volumes\` nothing"
}
