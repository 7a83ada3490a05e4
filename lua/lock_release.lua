-- Gives back locks that their owners still hold.
--
-- KEYS[i]  lock   string  the owner
-- ARGV[i]  owner
--
-- Returns  how many were released. A lock that expired and was taken by somebody else is left alone.
assert(#KEYS >= 1 and #KEYS == #ARGV, 'lock_release.lua: as many args as keys expected')

-- Two calls for all: a call from a script costs more than what it does.
local owners = redis.call('MGET', unpack(KEYS))
local held = {}
for i, lock in ipairs(KEYS) do
  if owners[i] == ARGV[i] then
    held[#held + 1] = lock
  end
end
return #held > 0 and redis.call('DEL', unpack(held)) or 0
