-- Remembers what was sold, and puts sold-out items into the filter: into the one in use and into one that is being rebuilt.
--
-- KEYS[1]  filter     hash    current, building: slots
-- KEYS[2]  slot 1     string  bits
-- KEYS[3]  slot 2     string  bits
-- KEYS[4]  totals     hash    #sold and pieces sold by item
-- ARGV[1]  expire_at  unix time in ms
-- ARGV[2]  items      number of items whose totals follow
-- then for each of them: item, pieces sold in all; then bits to set
--
-- Returns  pieces sold in all, as far as known here. Totals only grow: a repeated or late call changes nothing.
assert(#KEYS == 4 and #ARGV >= 2, 'stock_remember.lua: 4 keys and 2 args at least expected')

local filter, totals = KEYS[1], KEYS[4]
local expire_at, items = ARGV[1], tonumber(ARGV[2])
local first_bit = 3 + 2 * items

local grown = 0
for i = 3, first_bit - 1, 2 do
  local item, sold = ARGV[i], tonumber(ARGV[i + 1])
  local known = tonumber(redis.call('HGET', totals, item) or 0)
  if sold > known then
    redis.call('HSET', totals, item, sold)
    grown = grown + sold - known
  end
end
local sold = redis.call('HINCRBY', totals, '#sold', grown)
redis.call('PEXPIREAT', totals, expire_at)

if first_bit <= #ARGV then
  for _, slot in ipairs(redis.call('HMGET', filter, 'current', 'building')) do
    if slot then
      local bits = KEYS[1 + tonumber(slot)]
      for i = first_bit, #ARGV do
        redis.call('SETBIT', bits, ARGV[i], 1)
      end
      redis.call('PEXPIREAT', bits, expire_at)
    end
  end
end
return sold
