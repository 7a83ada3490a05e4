-- Counts requests by the generic cell rate algorithm, by the server's clock. A bucket is the time at which it is empty.
--
-- KEYS       buckets   strings, each once: µs since the start of 2026
-- ARGV       policies  their number, then for each: interval and capacity in µs
--            buckets   for each key its policy
--            requests  for each: how often it is counted, 1 if it is counted in any case, the number of its buckets, their places
--                      among the keys
--
-- Returns    for each request: 0 if it is within its limits, else the place among its buckets of the one that is full; then the
--            levels of its buckets in µs, after it. One that is refused is counted in none of them.
assert(#KEYS >= 1 and #ARGV >= 4, 'rate_limit.lua: a key, a policy and a request at least expected')

local START_OF_2026, SPARE_MS, ROUNDING = 1767225600, 1000, 0.01
-- A clock that was set back must not keep a bucket full for longer than it takes to empty it a few times.
local MAX_LEVEL = 8

local time = redis.call('TIME')
local now = (tonumber(time[1]) - START_OF_2026) * 1000000 + tonumber(time[2])
local place = 0
local function take()
  place = place + 1
  return tonumber(ARGV[place])
end

local policies = {}
for i = 1, take() do
  local interval = take()
  policies[i] = { interval = interval, capacity = take() }
end

-- One call for all: a call from a script costs more than its work.
local stored = redis.call('MGET', unpack(KEYS))
local buckets = {}
for i = 1, #KEYS do
  local policy = policies[take()]
  local level = math.max((tonumber(stored[i] or '') or now) - now, 0)
  buckets[i] = {
    interval = policy.interval,
    capacity = policy.capacity,
    level = math.min(level, policy.capacity * MAX_LEVEL),
  }
end

local replies = {}
while place < #ARGV do
  local weight, in_any_case, count = take(), take() == 1, take()
  local filled, full = {}, 0
  for i = 1, count do
    local bucket = buckets[take()]
    filled[i] = bucket
    if full == 0 and not in_any_case and bucket.level + weight * bucket.interval > bucket.capacity + ROUNDING then
      full = i
    end
  end
  replies[#replies + 1] = full
  for i = 1, count do
    local bucket = filled[i]
    if full == 0 then
      bucket.level = bucket.level + weight * bucket.interval
      bucket.changed = true
    end
    replies[#replies + 1] = math.floor(bucket.level)
  end
end

for i, bucket in ipairs(buckets) do
  if bucket.changed then
    local expiry = math.ceil(bucket.level / 1000) + SPARE_MS
    redis.call('SET', KEYS[i], string.format('%.3f', now + bucket.level), 'PX', expiry)
  end
end
return replies
