-- Begins a rebuild of the filter: from now on sold-out items are added to the old and the new one.
--
-- KEYS[1]  filter     hash    current, building: slots; builder: the rebuilding instance's id
-- KEYS[2]  slot 1     string  bits
-- KEYS[3]  slot 2     string  bits
-- KEYS[4]  totals     hash    #stock is set if the totals are complete
-- ARGV[1]  builder
-- ARGV[2]  expire_at  unix time in ms
--
-- Returns  1 if the totals are complete, 0 if they must be written too. It supersedes a rebuild that is running.
assert(#KEYS == 4 and #ARGV == 2, 'filter_begin.lua: 4 keys and 2 args expected')

local filter, totals = KEYS[1], KEYS[4]
local builder, expire_at = ARGV[1], ARGV[2]

local building = redis.call('HGET', filter, 'current') == '1' and 2 or 1
redis.call('DEL', KEYS[1 + building])
redis.call('HSET', filter, 'building', building, 'builder', builder)
redis.call('PEXPIREAT', filter, expire_at)
return redis.call('HEXISTS', totals, '#stock')
