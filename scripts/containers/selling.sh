# Sourced by scripts/containers.sh: buyers behind the load balancer, and what is done to the instances meanwhile.
# shellcheck shell=bash
: "${folder?}" "${engine?}" "${passed?}"

readonly shop=http://127.0.0.1:8080 items=50 workers=6
sale='' bought=0

ask() { # CURL'S ARGUMENTS...
  on_its_network curl --silent --max-time 15 "$@"
}

open_a_sale() {
  sale=$(in_service flash-sale-1 flash-sale sale create --items "$items" --stock 100000 --duration 1h --output json |
    sed -n 's/.*"sale_id":"\([^"]*\)".*/\1/p')
  [ -n "$sale" ] || die "no sale was created"
  await "the sale at the load balancer" ask --fail "$shop/v2/sales/$sale"
  seen "a sale, created in an instance's container, is open at the load balancer"
}

# --- buyers ---------------------------------------------------------------------------------------------------------------

# Each buyer repeats what fails, as docs/http-errors.md asks of clients, so each must end with what it wanted.
buyers_buy_while() { # WHAT
  local folder_of=$folder/$1 requests repeated slowest here
  mkdir "$folder_of"
  set -m
  on_its_network bash scripts/containers/buyers.sh "$shop" "$sale" "$items" "$folder_of" "$workers" &
  crowd=$!
  set +m
  await "the first buyers" grep -q bought "$folder_of"/buyers.1
  "$1" "$folder_of"
  touch "$folder_of/stop"
  wait "$crowd" || die "the buyers ended early"
  obey
  crowd=
  if grep '^lost' "$folder_of/buyers" >&2; then die "a buyer ended without what it wanted while ${1//_/ }"; fi
  here=$(wc -l <"$folder_of/buyers")
  bought=$((bought + here))
  requests=$(wc -l <"$folder_of/requests")
  repeated=$(awk '$2 !~ /^2/' "$folder_of/requests" | wc -l)
  slowest=$(sort -k 3 -n "$folder_of/requests" | awk 'END { print $3 }')
  seen "while ${1//_/ }: $here buyers bought, $requests requests, $repeated of them repeated by buyers, the slowest took $slowest s$remark"
  remark=
}
remark=''

# Waits until so many more buyers have bought, so that what was done is between purchases.
more_buyers() { # FOLDER NUMBER
  local wanted
  wanted=$(($(cat "$1"/buyers.* | wc -l) + $2))
  await "$2 more buyers" eval "[ \"\$(cat '$1'/buyers.* | wc -l)\" -ge $wanted ]"
}

# Requests that the load balancer sent to a second instance, since a time.
sent_twice() { # SINCE
  docker compose logs --no-log-prefix --no-color load-balancer |
    awk -F '"' -v since="$1" '/"upstream":"[^"]*, / && $4 > since' | wc -l
}
# As in the load balancer's log.
time_in() { # SECONDS
  date --utc --date "+$1 seconds" +%Y-%m-%dT%H:%M:%S+00:00
}
is_past() { [[ $(time_in 0) > $1 ]]; }

# --- what is done meanwhile --------------------------------------------------------------------------------------------------

# The DNS outside never answers here, which knows an instance's name no more once its container has ended.
an_instance_is_stopped() { # FOLDER
  local gone end
  compose stop flash-sale-1
  # For a second nginx may still have its address.
  gone=$(time_in 2) end=$(time_in 12)
  await "ten seconds without the instance" is_past "$end"
  more_buyers "$1" 50
  expect "requests that were sent to the stopped instance later" "$(sent_twice "$gone")" 0
  compose up --detach --no-deps --wait flash-sale-1
  more_buyers "$1" 50
  remark=", none was sent to the stopped instance after two seconds"
}

an_instance_crashes() { # FOLDER
  local id pid before
  id=$(docker compose ps --quiet flash-sale-2)
  pid=$(docker inspect --format '{{.State.Pid}}' "$id")
  before=$(docker inspect --format '{{.RestartCount}}' "$id")
  nsenter --target "$engine" --pid -- kill -KILL "$pid"
  await "a restart by the engine" eval "[ \"\$(docker inspect --format '{{.RestartCount}}' $id)\" -gt $before ]"
  await "the instance's health" health flash-sale-2 healthy
  more_buyers "$1" 50
  remark=", the engine restarted the instance"
}

the_service_is_upgraded() { # FOLDER
  local before instance
  before=$(image_id)
  FLASH_SALE_REVISION=second from_page upgrade
  [ "$(image_id)" != "$before" ] || die "the upgrade made no other image"
  for instance in flash-sale-1 flash-sale-2; do
    expect "the image of $instance" "$(docker inspect --format '{{.Image}}' "$(docker compose ps --quiet "$instance")")" "$(image_id)"
  done
  more_buyers "$1" 50
}

remember_secrets() {
  local file
  mkdir -p "$folder/secrets-seen"
  for file in "$FLASH_SALE_SECRETS"/*; do cp "$file" "$folder/secrets-seen/$(basename "$file").$passed.$RANDOM"; done
}

passwords_change() { # FOLDER
  local old=$folder/old-password
  remember_secrets
  cp "$FLASH_SALE_SECRETS/service_password" "$old"
  from_page passwords
  if cmp --silent "$old" "$FLASH_SALE_SECRETS/service_password"; then die "the page's commands change no password"; fi
  mv "$old" "$FLASH_SALE_SECRETS/old-password"
  if psql_as flash_sale old-password 'SELECT 1' >/dev/null; then die "the old password is still let in"; fi
  rm "$FLASH_SALE_SECRETS/old-password"
  may flash_sale service_password 'SELECT 1'
  more_buyers "$1" 50
}

# The code of a new checkout.
collect() { # BUYER
  ask --fail --request POST "$shop/checkout?user_id=$1&item_id=1&sale_id=$sale" | sed -n 's/.*"code":"\([^"]*\)".*/\1/p'
}
purchase() { # CODE
  ask --output /dev/null --write-out '%{http_code}' --request POST "$shop/purchase?code=$1"
}

signing_keys_change() { # FOLDER
  local old_code new_code
  remember_secrets
  old_code=$(collect buyer-old-1)
  from_page add-key
  from_page restart
  from_page sign-with-new-key
  remember_secrets
  from_page restart
  new_code=$(collect buyer-new-1)
  expect "a purchase with a code of the old key while it verifies" "$(purchase "$old_code")" 200
  from_page remove-old-key
  from_page restart
  expect "a repeat with a code of the old key after its removal" "$(purchase "$old_code")" 404
  expect "a purchase with a code of the new key" "$(purchase "$new_code")" 200
  bought=$((bought + 2))
  more_buyers "$1" 50
}

the_audit_agrees() {
  local sold
  from_page audit
  expect_in "the audit" "$(cat "$folder/output")" '"ok":true'
  sold=$(ask --fail "$shop/v2/sales/$sale" | sed -n 's/.*"sold":\([0-9]*\).*/\1/p')
  expect "pieces sold" "$sold" "$bought"
  seen "the audit finds nothing, and $sold pieces are sold: as many as buyers were told"
}

# --- the load balancer ---------------------------------------------------------------------------------------------------

# Sends bytes and reads the response until the connection ends.
raw() { # BYTES
  # shellcheck disable=SC2016 # the inner shell's variables
  on_its_network bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; printf "$1" >&3; timeout 5 cat <&3' bash "$1" | tr -d '\r'
}

# The response has the shape of the version, and its code.
refused() { # WHAT VERSION STATUS CODE RESPONSE
  local what="$1, version $2"
  expect "$what" "$(sed -n '1s/HTTP[^ ]* \([0-9]*\).*/\1/p' <<<"$5")" "$3"
  expect_in "$what" "$5" "\"code\":\"$4\""
  expect_in "$what" "${5,,}" "api-version: $2"
  expect_in "$what" "${5,,}" "x-request-id: "
  if [ "$2" = 2 ]; then
    expect_in "$what" "${5,,}" 'content-type: application/problem+json'
    expect_in "$what" "$5" "{\"type\":\"/problems/$4\",\"title\":\""
    expect_in "$what" "$5" "\"status\":$3,"
  else
    expect_in "$what" "${5,,}" 'content-type: application/json'
    expect_in "$what" "$5" '{"message":"'
  fi
}

the_balancer_answers_as_the_instances_do() {
  local version prefix long
  printf -v long '%50000s' ''
  long=${long// /x}
  head --bytes 200000 /dev/zero >"$folder/large"
  for version in 1 2; do
    prefix=/v$version
    refused 'a request without a host' "$version" 400 validation_failed "$(raw "GET $prefix/sales HTTP/1.1\r\n\r\n")"
    refused 'an unknown framing' "$version" 400 validation_failed \
      "$(raw "POST $prefix/sales HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n")"
    refused 'a version of HTTP that is none' "$version" 400 validation_failed "$(raw "GET $prefix/sales HTTP/3.7\r\nHost: a\r\n\r\n")"
    refused 'a method that is not passed on' "$version" 405 method_not_allowed "$(ask --include --request TRACE "$shop$prefix/sales")"
    refused 'a body of 200 KB' "$version" 413 payload_too_large "$(ask --include --data-binary "@$folder/large" "$shop$prefix/checkouts")"
    refused 'a target of 50 KB' "$version" 414 uri_too_long "$(ask --include "$shop$prefix/$long")"
    refused 'a header of 50 KB' "$version" 431 head_too_large "$(ask --include --header "X-Long: $long" "$shop$prefix/sales")"
    refused 'a path of its own' "$version" 404 route_not_found \
      "$(ask --include --header "Api-Version: $version" "$shop/load-balancer/error/1")"
  done
  refused 'bytes that are no request' 1 400 validation_failed "$(raw 'nonsense\r\n\r\n')"
  refused 'a version by Accept' 2 405 method_not_allowed \
    "$(ask --include --request TRACE --header 'Accept: application/vnd.flash-sale.v2+json' "$shop/sales")"
  seen "what nginx refuses by itself has the shape of the service's errors, in both versions, and is never HTML"
}

the_balancer_says_that_no_instance_is_there() {
  local version response
  compose stop flash-sale-1 flash-sale-2
  for version in 1 2; do
    response=$(ask --include "$shop/v$version/sales/$sale")
    refused 'a request without an instance' "$version" 503 unavailable "$response"
    expect_in "a response without an instance" "${response,,}" 'retry-after: 1'
  done
  compose up --detach --no-deps --wait flash-sale-1 flash-sale-2
  await "the instances at the load balancer" ask --fail "$shop/v2/sales/$sale"
  seen "without an instance nginx answers 503 unavailable in the version's shape, and finds the instances when they are back"
}
