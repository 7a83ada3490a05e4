-- Checks that this server accepts writes, and returns its time.
--
-- KEYS[1]  probe   string  empty
-- ARGV[1]  ttl     in ms
--
-- Returns  unix time in ms.
assert(#KEYS == 1 and #ARGV == 1, 'probe.lua: 1 key and 1 arg expected')

redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
local time = redis.call('TIME')
return time[1] * 1000 + math.floor(time[2] / 1000)
