-- Remembers where buyers stand, as of their commits.
--
-- KEYS[i]  standing   hash   #version, #bought and quantities by item
-- ARGV[1]  expire_at  unix time in ms
-- then for each key: version, bought, number of lines, and for each line its item and quantity
--
-- Returns  how many were newer than what was known. An older or repeated version changes nothing.
assert(#KEYS >= 1 and #ARGV >= 1 + 3 * #KEYS, 'standings_remember.lua: keys and args do not fit')

local expire_at = ARGV[1]
local newer, at = 0, 2
for _, standing in ipairs(KEYS) do
  local version, bought, lines = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local first = at + 3
  at = first + 2 * lines
  local known = redis.call('HGET', standing, '#version')
  -- Microseconds since 1970 stay exact in a double until the year 2255.
  if not known or tonumber(known) < tonumber(version) then
    redis.call('DEL', standing)
    redis.call('HSET', standing, '#version', version, '#bought', bought)
    for i = first, at - 1, 2 do
      redis.call('HSET', standing, ARGV[i], ARGV[i + 1])
    end
    redis.call('PEXPIREAT', standing, expire_at)
    newer = newer + 1
  end
end
return newer
