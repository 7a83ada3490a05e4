-- Acquires or extends the leadership of a background task.
--
-- KEYS[1]  leader  string  the leading instance; expires at the end of its term
-- ARGV[1]  instance
-- ARGV[2]  term_ms
--
-- Returns  1 for the leader, whose term starts again, 0 for every other instance.
assert(#KEYS == 1 and #ARGV == 2, 'leader_acquire.lua: 1 key and 2 args expected')

local leader, instance, term_ms = KEYS[1], ARGV[1], ARGV[2]

if redis.call('SET', leader, instance, 'NX', 'PX', term_ms) then
  return 1
end
if redis.call('GET', leader) == instance then
  redis.call('PEXPIRE', leader, term_ms)
  return 1
end
return 0
