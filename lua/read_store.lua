-- Stores a page of the read cache, unless what it is about has changed since it was read.
--
-- KEYS[1]  page        string  generation, when it expires, the page; expires by itself
-- KEYS[2]  generation  string  the generation of its scope; none is '0'
-- ARGV[1]  generation  in which it was read  ARGV[2]  ttl_ms  ARGV[3]  page
--
-- Returns  1 when stored, 0 when the scope has another generation by now.
assert(#KEYS == 2 and #ARGV == 3, 'read_store.lua: 2 keys and 3 args expected')

if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
local expires_at = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
local value = string.format('%s %.0f ', ARGV[1], expires_at) .. ARGV[3]
redis.call('SET', KEYS[1], value, 'PX', ARGV[2])
return 1
