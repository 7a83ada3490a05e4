-- Acquires locks on checkout codes or idempotency keys.
--
-- KEYS[i]    lock    string  the owner; expires after ttl_ms
-- ARGV[1]    ttl_ms
-- ARGV[1+i]  owner   of the i-th lock
--
-- Returns    for each lock 1 if acquired, 0 if another owner holds it: then it stays unchanged.
assert(#KEYS >= 1 and #ARGV == 1 + #KEYS, 'lock_acquire.lua: keys and args do not fit')

local ttl_ms = ARGV[1]
local taken = {}
for i, lock in ipairs(KEYS) do
  taken[i] = redis.call('SET', lock, ARGV[1 + i], 'NX', 'PX', ttl_ms) and 1 or 0
end
return taken
