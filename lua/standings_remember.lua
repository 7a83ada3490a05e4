-- Remembers where buyers stand, as of their commits.
--
-- KEYS[i]    standing   string  version, pieces bought, then item and quantity of each line; no key twice
-- ARGV[1]    expire_at  unix time in ms
-- ARGV[1+i]  the i-th standing, as it is kept
--
-- Returns    how many were newer than what was known. An older or repeated version changes nothing.
assert(#KEYS >= 1 and #ARGV == 1 + #KEYS, 'standings_remember.lua: keys and args do not fit')

-- Microseconds since 1970 stay exact in a double until the year 2255.
local function version(standing)
  return tonumber(string.match(standing, '^%d+'))
end

local expire_at = ARGV[1]
local known = redis.call('MGET', unpack(KEYS))
local newer = 0
for i, key in ipairs(KEYS) do
  local standing = ARGV[1 + i]
  if not known[i] or version(known[i]) < version(standing) then
    redis.call('SET', key, standing, 'PXAT', expire_at)
    newer = newer + 1
  end
end
return newer
