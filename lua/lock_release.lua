-- Releases the locks that the given owners still hold.
--
-- KEYS[i]  lock   string  the owner
-- ARGV[i]  owner
--
-- Returns  the number of released locks. A lock that expired and was acquired by another owner stays unchanged.
assert(#KEYS >= 1 and #KEYS == #ARGV, 'lock_release.lua: as many args as keys expected')

-- Two calls for all: a call from a script costs more than its work.
local owners = redis.call('MGET', unpack(KEYS))
local held = {}
for i, lock in ipairs(KEYS) do
  if owners[i] == ARGV[i] then
    held[#held + 1] = lock
  end
end
return #held > 0 and redis.call('DEL', unpack(held)) or 0
