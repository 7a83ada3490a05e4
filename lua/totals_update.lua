-- Updates buyers' totals to those of their commits.
--
-- KEYS[i]    buyer      string  totals: version, pieces bought, then item and quantity of each line; no key twice
-- ARGV[1]    expire_at  unix time in ms
-- ARGV[1+i]  totals     of the i-th buyer, as stored
--
-- Returns    the number of totals that were newer than the stored ones. An older or repeated version changes nothing.
assert(#KEYS >= 1 and #ARGV == 1 + #KEYS, 'totals_update.lua: keys and args do not fit')

-- Microseconds since 1970 stay exact in a double until the year 2255.
local function version(totals)
  return tonumber(string.match(totals, '^%d+'))
end

local expire_at = ARGV[1]
local stored = redis.call('MGET', unpack(KEYS))
local newer = 0
for i, key in ipairs(KEYS) do
  local totals = ARGV[1 + i]
  if not stored[i] or version(stored[i]) < version(totals) then
    redis.call('SET', key, totals, 'PXAT', expire_at)
    newer = newer + 1
  end
end
return newer
