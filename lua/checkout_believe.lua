-- Tells what is believed of checkouts at the door: the filter of sold-out items, the sale's total, the buyer's limit.
-- Reads only; every answer but 0 is confirmed elsewhere before anybody is refused.
--
-- KEYS[1]    filter     hash    current: the slot in use; run, published_at: on which run of the server it was made, when
-- KEYS[2]    slot 1     string  bits
-- KEYS[3]    slot 2     string  bits
-- KEYS[4]    totals     hash    #sold, #stock and pieces sold by item
-- KEYS[4+i]  standing   string  the i-th checkout's buyer: version, pieces bought, then item and quantity of each line
-- ARGV[1]    limit      pieces a buyer may have
-- ARGV[2]    bits       of the filter
-- ARGV[3]    hashes     bits that an item has in the filter
-- ARGV[4]    since      unix time in ms: where the server does not tell its run, only a later filter is believed
-- then for each checkout: item, quantity, the place of the item's first bit, the stride to the next ones
--
-- Returns    1 if it is cold, that is if there is no filter that was made on this run of the server, else 0; then for each
--            checkout 0 nothing speaks against it, 1 the filter holds the item, 2 all pieces are sold, 3 it is cold;
--            beyond the limit, the version of the standing that says so, plus 16.
assert(#KEYS >= 5 and #ARGV >= 4, 'checkout_believe.lua: 5 keys and 4 args at least expected')

local FIXED_KEYS, FIXED_ARGS, ARGS_EACH, FIRST_VERSION = 4, 4, 4, 16
local filter, totals = KEYS[1], KEYS[4]
local limit, bits, hashes, since = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local checkouts = #KEYS - FIXED_KEYS
assert(#ARGV == FIXED_ARGS + checkouts * ARGS_EACH, 'checkout_believe.lua: args do not fit the keys')

-- After a failover or a restart from disk, what is here may lack what was told last. Standings have versions.
local function is_of_this_run(run, published_at)
  local info = redis.pcall('INFO', 'server')
  if type(info) == 'string' then
    -- A plain search: a pattern over so long a text costs more than all the rest.
    return run and run ~= '' and string.find(info, 'run_id:' .. run, 1, true) ~= nil
  end
  return published_at and tonumber(published_at) > since
end

local current, run, published_at = unpack(redis.call('HMGET', filter, 'current', 'run', 'published_at'))
local slot = current and is_of_this_run(run, published_at) and KEYS[1 + tonumber(current)]
-- One call for all: a call from a script costs more than what it does.
local standings = redis.call('MGET', unpack(KEYS, FIXED_KEYS + 1))

local function all_sold()
  local sold, stock = unpack(redis.call('HMGET', totals, '#sold', '#stock'))
  return sold and stock and tonumber(sold) >= tonumber(stock)
end

-- The first bits of all items; nearly every item that is not sold out ends there.
local function first_bits()
  local gets = {}
  for i = 1, checkouts do
    local at = 3 * (i - 1)
    gets[at + 1], gets[at + 2], gets[at + 3] = 'GET', 'u1', ARGV[FIXED_ARGS + (i - 1) * ARGS_EACH + 3]
  end
  return redis.call('BITFIELD_RO', slot, unpack(gets))
end

local function in_filter(first, stride)
  for turn = 1, hashes - 1 do
    if redis.call('GETBIT', slot, (first + turn * stride) % bits) == 0 then
      return false
    end
  end
  return true
end

local function beyond_limit(standing, item, quantity)
  local numbers = {}
  for number in string.gmatch(standing, '%d+') do
    numbers[#numbers + 1] = tonumber(number)
  end
  local version, pieces = numbers[1], numbers[2] + quantity
  for i = 3, #numbers, 2 do
    if numbers[i] ~= item then
      pieces = pieces + numbers[i + 1]
    end
  end
  return pieces > limit and version
end

local sold_out = slot and all_sold()
local firsts = slot and first_bits()
local beliefs = { slot and 0 or 1 }
for i = 1, checkouts do
  local at = FIXED_ARGS + (i - 1) * ARGS_EACH
  local item, quantity = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local beyond = standings[i] and beyond_limit(standings[i], item, quantity)
  if sold_out then
    beliefs[1 + i] = 2
  elseif firsts and firsts[i] == 1 and in_filter(tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])) then
    beliefs[1 + i] = 1
  elseif beyond then
    beliefs[1 + i] = FIRST_VERSION + beyond
  elseif not slot then
    beliefs[1 + i] = 3
  else
    beliefs[1 + i] = 0
  end
end
return beliefs
