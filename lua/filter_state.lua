-- Tells what the filter in use was built from. It only reads.
--
-- KEYS[1]  filter     hash    current: the slot in use; run, published_at: the server's run that it was built on, and when;
--                             built_from: what it was built from
-- KEYS[2]  totals     hash    #stock is set if the totals are complete
-- ARGV[1]  since      unix time in ms: if the server does not return its run id, only a filter published later is used
--
-- Returns  built_from, or an empty string if a filter must be built: there is none of this run of the server, or totals lack.
assert(#KEYS == 2 and #ARGV == 1, 'filter_state.lua: 2 keys and 1 arg expected')

local filter, totals, since = KEYS[1], KEYS[2], tonumber(ARGV[1])

local function is_of_this_run(run, published_at)
  local info = redis.pcall('INFO', 'server')
  if type(info) == 'string' then
    return run and run ~= '' and string.find(info, 'run_id:' .. run, 1, true) ~= nil
  end
  return published_at and tonumber(published_at) > since
end

local current, run, published_at, built_from =
  unpack(redis.call('HMGET', filter, 'current', 'run', 'published_at', 'built_from'))
if current and built_from and is_of_this_run(run, published_at) and redis.call('HEXISTS', totals, '#stock') == 1 then
  return built_from
end
return ''
