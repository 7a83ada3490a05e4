#!/usr/bin/env bash
# Buyers for `make containers`: each collects an item, buys it, and repeats what fails, as docs/http-errors.md asks of clients.
#
#   buyers.sh URL SALE ITEMS FOLDER WORKERS     until FOLDER/stop exists, or for 15 minutes
#
# FOLDER/requests gets a line for each request: when it began, the status (000: the connection broke), the seconds it took, the
# path. FOLDER/buyers gets a line for each buyer: bought or lost, its id, its code.

set -euo pipefail
readonly url=$1 sale=$2 items=$3 folder=$4 workers=$5
readonly tries=15

# Sends a request until it has its answer, which is then in `answer`.
send() { # WORKER PATH [CURL'S ARGUMENTS...]
  local worker=$1 path=$2 try status seconds begun
  shift 2
  for ((try = 0; try < tries; try++)); do
    begun=$EPOCHREALTIME
    answer=$(curl --silent --max-time 15 --request POST --write-out '\n%{http_code} %{time_total}' "$@" "$url$path") || true
    read -r status seconds <<<"${answer##*$'\n'}"
    answer=${answer%$'\n'*}
    printf '%s %s %s %s\n' "$begun" "$status" "$seconds" "${path%%\?*}" >>"$folder/requests.$worker"
    case $status in
      2*) return 0 ;;
      000 | 500 | 503) sleep "1.$((RANDOM % 10))" ;;
      409) [[ $answer == *'"purchase_in_progress"'* || $answer == *'"idempotency_key_in_use"'* ]] || return 1 && sleep 1 ;;
      *) return 1 ;;
    esac
  done
  return 1
}

member() { # NAME, of `answer`
  sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$answer"
}

# Half of them with version 1, half with version 2.
buy_v1() { # WORKER BUYER ITEM
  send "$1" "/checkout?user_id=$2&item_id=$3&sale_id=$sale" || return 1
  code=$(member code)
  send "$1" "/purchase?code=$code" && [[ $answer == *'"success":true'* ]]
}
buy_v2() { # WORKER BUYER ITEM
  local json=(--header 'Content-Type: application/json')
  send "$1" /v2/checkouts "${json[@]}" --header "Idempotency-Key: $2-collect" \
    --data "{\"buyer_id\":\"$2\",\"sale_id\":\"$sale\",\"items\":[{\"id\":\"$3\"}]}" || return 1
  code=$(member code)
  send "$1" "/v2/checkouts/$code/purchase" --header "Idempotency-Key: $2-buy" && [[ $answer == *'"outcome":"sold"'* ]]
}

work() { # WORKER
  local worker=$1 number buyer item code answer how
  for ((number = 0; SECONDS < 900; number++)); do
    [ ! -e "$folder/stop" ] || return 0
    buyer=buyer-${folder##*/}-$worker-$number item=$((RANDOM % items + 1)) code=''
    how=buy_v$((number % 2 + 1))
    if "$how" "$worker" "$buyer" "$item"; then
      echo "bought $buyer $code" >>"$folder/buyers.$worker"
    else
      echo "lost $buyer ${code:-without-code} $answer" >>"$folder/buyers.$worker"
    fi
    # Bounds the load: the machine has other work.
    sleep 0.05
  done
}

for ((worker = 1; worker <= workers; worker++)); do work "$worker" & done
wait
cat "$folder"/requests.* >"$folder/requests"
cat "$folder"/buyers.* >"$folder/buyers"
