-- Takes the lock on one checkout code.
--
-- KEYS[1]  lock   string  the owner; expires by itself
-- ARGV[1]  owner
-- ARGV[2]  ttl_ms
--
-- Returns  1 when taken, 0 when somebody else holds it. Nothing is changed in the second case.
assert(#KEYS == 1 and #ARGV == 2, 'lock_acquire.lua: 1 key and 2 args expected')

local lock, owner, ttl_ms = KEYS[1], ARGV[1], ARGV[2]

if redis.call('SET', lock, owner, 'NX', 'PX', ttl_ms) then
  return 1
end
return 0
