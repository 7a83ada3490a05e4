-- Updates sold totals, and adds sold-out items to the filter: to the one in use and to one that is being rebuilt.
--
-- KEYS[1]  filter     hash    current, building: slots
-- KEYS[2]  slot 1     string  bits
-- KEYS[3]  slot 2     string  bits
-- KEYS[4]  totals     hash    #sold and pieces sold by item
-- ARGV[1]  expire_at  unix time in ms
-- ARGV[2]  items      number of items whose totals follow
-- then for each of them: item, pieces sold in all; then bits to set
--
-- Returns  pieces sold in all, as far as Redis has them. Totals only grow: a repeated or late call changes nothing.
assert(#KEYS == 4 and #ARGV >= 2, 'stock_update.lua: 4 keys and 2 args at least expected')

local filter, totals = KEYS[1], KEYS[4]
local expire_at, items = ARGV[1], tonumber(ARGV[2])
local first_bit = 3 + 2 * items

local function grow()
  local names = {}
  for i = 1, items do
    names[i] = ARGV[1 + 2 * i]
  end
  local stored = redis.call('HMGET', totals, unpack(names))
  -- An item may occur twice: the larger total counts, once.
  local before, largest = {}, {}
  for i, name in ipairs(names) do
    before[name] = tonumber(stored[i] or 0)
    largest[name] = math.max(largest[name] or before[name], tonumber(ARGV[2 + 2 * i]))
  end
  local updates, grown = {}, 0
  for name, sold in pairs(largest) do
    if sold > before[name] then
      updates[#updates + 1] = name
      updates[#updates + 1] = sold
      grown = grown + sold - before[name]
    end
  end
  if #updates > 0 then
    redis.call('HSET', totals, unpack(updates))
  end
  return grown
end

local sold = redis.call('HINCRBY', totals, '#sold', items > 0 and grow() or 0)
redis.call('PEXPIREAT', totals, expire_at)

if first_bit <= #ARGV then
  local sets = {}
  for i = first_bit, #ARGV do
    sets[#sets + 1] = 'SET'
    sets[#sets + 1] = 'u1'
    sets[#sets + 1] = ARGV[i]
    sets[#sets + 1] = 1
  end
  for _, slot in ipairs(redis.call('HMGET', filter, 'current', 'building')) do
    if slot then
      local bits = KEYS[1 + tonumber(slot)]
      -- In pieces, because a script can hand over some thousand arguments at a time.
      for from = 1, #sets, 4000 do
        redis.call('BITFIELD', bits, unpack(sets, from, math.min(from + 3999, #sets)))
      end
      redis.call('PEXPIREAT', bits, expire_at)
    end
  end
end
return sold
