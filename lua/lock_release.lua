-- Gives back locks that their owners still hold.
--
-- KEYS[i]  lock   string  the owner
-- ARGV[i]  owner
--
-- Returns  how many were released. A lock that expired and was taken by somebody else is left alone.
assert(#KEYS >= 1 and #KEYS == #ARGV, 'lock_release.lua: as many args as keys expected')

local released = 0
for i, lock in ipairs(KEYS) do
  if redis.call('GET', lock) == ARGV[i] then
    released = released + redis.call('DEL', lock)
  end
end
return released
