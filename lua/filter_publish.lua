-- Replaces the old filter with a rebuilt one, including the items that were added while it was built.
--
-- KEYS[1]  filter     hash    current, building: slots; builder: the rebuilding instance's id; generation; run: the run
--                             id of the server at publication, if INFO is permitted; published_at: unix time in ms;
--                             built_from: what it was built from
-- KEYS[2]  slot 1     string  bits
-- KEYS[3]  slot 2     string  bits
-- KEYS[4]  built      string  bits as built from PostgreSQL; deleted
-- KEYS[5]  totals     hash    #stock is set
-- ARGV[1]  builder
-- ARGV[2]  expire_at  unix time in ms
-- ARGV[3]  stock      pieces of the whole sale
-- ARGV[4]  built_from
--
-- Returns  the filter's new generation, or 0 if another rebuild has superseded this one: then nothing is published.
assert(#KEYS == 5 and #ARGV == 4, 'filter_publish.lua: 5 keys and 4 args expected')

local filter, built, totals = KEYS[1], KEYS[4], KEYS[5]
local builder, expire_at, stock, built_from = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('HGET', filter, 'builder') ~= builder then
  redis.call('DEL', built)
  return 0
end
local building = redis.call('HGET', filter, 'building')
local slot = KEYS[1 + tonumber(building)]
redis.call('BITOP', 'OR', slot, slot, built)
redis.call('DEL', built)
-- The epoch: a filter that is read on another run of the server may lack the latest writes.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', filter, 'current', building, 'run', run, 'published_at', now, 'built_from', built_from)
redis.call('HDEL', filter, 'building', 'builder')
redis.call('HSET', totals, '#stock', stock)
redis.call('PEXPIREAT', filter, expire_at)
redis.call('PEXPIREAT', slot, expire_at)
redis.call('PEXPIREAT', totals, expire_at)
return redis.call('HINCRBY', filter, 'generation', 1)
