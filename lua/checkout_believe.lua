-- Tells what is believed of checkouts at the door: the filter of sold-out items, the sale's total, the buyer's limit.
-- Reads only; every answer but 0 is confirmed elsewhere before anybody is refused.
--
-- KEYS[1]    filter     hash    current: the slot in use
-- KEYS[2]    slot 1     string  bits
-- KEYS[3]    slot 2     string  bits
-- KEYS[4]    totals     hash    #sold, #stock and pieces sold by item
-- KEYS[4+i]  standing   hash    #version, #bought and quantities by item: the i-th checkout's buyer
-- ARGV[1]    limit      pieces a buyer may have
-- ARGV[2]    hashes     bits an item has in the filter
-- then for each checkout: item, quantity, and the item's bits
--
-- Returns    for each checkout 0 nothing speaks against it, 1 the filter holds the item, 2 all pieces are sold, 3 there is
--            no filter to ask; beyond the limit, the version of the standing that says so, plus 16.
assert(#KEYS >= 5 and #ARGV >= 2, 'checkout_believe.lua: 5 keys and 2 args at least expected')

local FIXED_KEYS, FIXED_ARGS, FIRST_VERSION = 4, 2, 16
local filter, totals = KEYS[1], KEYS[4]
local limit, hashes = tonumber(ARGV[1]), tonumber(ARGV[2])
local checkouts = #KEYS - FIXED_KEYS
assert(#ARGV == FIXED_ARGS + checkouts * (2 + hashes), 'checkout_believe.lua: args do not fit the keys')

local current = redis.call('HGET', filter, 'current')
local slot = current and KEYS[1 + tonumber(current)]

local function all_sold()
  local sold, stock = unpack(redis.call('HMGET', totals, '#sold', '#stock'))
  return sold and stock and tonumber(sold) >= tonumber(stock)
end

local function in_filter(first)
  for i = first, first + hashes - 1 do
    if redis.call('GETBIT', slot, ARGV[i]) == 0 then
      return false
    end
  end
  return true
end

local function beyond_limit(standing, item, quantity)
  local fields = redis.call('HGETALL', standing)
  local pieces, version = quantity, nil
  for i = 1, #fields, 2 do
    local field, value = fields[i], tonumber(fields[i + 1])
    if field == '#version' then
      version = value
    elseif field ~= item then
      pieces = pieces + value
    end
  end
  return pieces > limit and version
end

local sold_out = all_sold()
local beliefs = {}
for i = 1, checkouts do
  local at = FIXED_ARGS + (i - 1) * (2 + hashes)
  local item, quantity = ARGV[at + 1], tonumber(ARGV[at + 2])
  local beyond = beyond_limit(KEYS[FIXED_KEYS + i], item, quantity)
  if sold_out then
    beliefs[i] = 2
  elseif slot and in_filter(at + 3) then
    beliefs[i] = 1
  elseif beyond then
    beliefs[i] = FIRST_VERSION + beyond
  elseif not slot then
    beliefs[i] = 3
  else
    beliefs[i] = 0
  end
end
return beliefs
