-- Finds a page of the read cache.
--
-- KEYS[1]  page        string  generation, when it expires, the page; separated by spaces
-- KEYS[2]  generation  string  the generation of its scope; none is '0'
--
-- Returns  {generation, page, remaining_ms}; without a page of this generation {generation, nil, nil}.
assert(#KEYS == 2 and #ARGV == 0, 'read_find.lua: 2 keys and no args expected')

local current = redis.call('GET', KEYS[2]) or '0'
local stored = redis.call('GET', KEYS[1])
if not stored then
  return {current, false, false}
end
local generation, expires_at, begins = string.match(stored, '^(%w+) (%d+) ()')
if generation ~= current then
  return {current, false, false}
end
local time = redis.call('TIME')
local remaining = tonumber(expires_at) - (time[1] * 1000 + math.floor(time[2] / 1000))
if remaining <= 0 then
  return {current, false, false}
end
return {current, string.sub(stored, begins), remaining}
