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

local tonumber, floor, min = tonumber, math.floor, math.min
local time = redis.call('TIME')
local now = (tonumber(time[1]) - START_OF_2026) * 1000000 + tonumber(time[2])

local interval_of, capacity_of = {}, {}
local policies = tonumber(ARGV[1])
for policy = 1, policies do
  interval_of[policy] = tonumber(ARGV[2 * policy])
  capacity_of[policy] = tonumber(ARGV[2 * policy + 1])
end
local place = 1 + 2 * policies

-- One call for all: a call from a script costs more than its work. Lists of numbers, and no table a bucket: each would be allocated.
local stored = redis.call('MGET', unpack(KEYS))
local policy_of, levels, changed = {}, {}, {}
for i = 1, #KEYS do
  local policy = tonumber(ARGV[place + i])
  policy_of[i] = policy
  local empty_at = stored[i] and tonumber(stored[i])
  levels[i] = empty_at and empty_at > now and min(empty_at - now, capacity_of[policy] * MAX_LEVEL) or 0
end
place = place + #KEYS

local replies, last = {}, 0
while place < #ARGV do
  local weight, in_any_case, count = tonumber(ARGV[place + 1]), ARGV[place + 2] == '1', tonumber(ARGV[place + 3])
  place = place + 3
  local full = 0
  if not in_any_case then
    for i = 1, count do
      local bucket = tonumber(ARGV[place + i])
      local policy = policy_of[bucket]
      if levels[bucket] + weight * interval_of[policy] > capacity_of[policy] + ROUNDING then
        full = i
        break
      end
    end
  end
  last = last + 1
  replies[last] = full
  for i = 1, count do
    local bucket = tonumber(ARGV[place + i])
    if full == 0 then
      levels[bucket] = levels[bucket] + weight * interval_of[policy_of[bucket]]
      changed[bucket] = true
    end
    last = last + 1
    replies[last] = floor(levels[bucket])
  end
  place = place + count
end

for bucket in pairs(changed) do
  local level = levels[bucket]
  local expiry = string.format('%d', level / 1000 + SPARE_MS)
  redis.call('SET', KEYS[bucket], string.format('%.3f', now + level), 'PX', expiry)
end
return replies
