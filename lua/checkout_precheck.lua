-- Returns hints about checkouts: by the filter of sold-out items, the sale's total, the buyer's totals and limit.
-- It only reads. PostgreSQL confirms every hint but 0 before a request is refused.
--
-- KEYS[1]    filter     hash    current: the slot in use; run, published_at: the server's run that it was built on, and when
-- KEYS[2]    slot 1     string  bits
-- KEYS[3]    slot 2     string  bits
-- KEYS[4]    totals     hash    #sold, #stock and pieces sold by item
-- KEYS[4+i]  buyer      string  the totals of the i-th checkout's buyer: version, pieces bought, item and quantity of each line
-- ARGV[1]    limit      pieces that a buyer may have
-- ARGV[2]    bits       size of the filter
-- ARGV[3]    hashes     bits per item in the filter
-- ARGV[4]    since      unix time in ms: if the server does not return its run id, only a filter published later is used
-- then for each checkout: item, quantity, the position of the item's first bit, the stride to the next ones
--
-- Returns    1 if it is cold, that is if no filter was built on this run of the server, else 0; then for each checkout
--            0 clear, 1 the filter contains the item, 2 all pieces are sold, 3 cold;
--            over the limit: 16 plus the version of the buyer's totals.
assert(#KEYS >= 5 and #ARGV >= 4, 'checkout_precheck.lua: 5 keys and 4 args at least expected')

local FIXED_KEYS, FIXED_ARGS, ARGS_EACH, FIRST_VERSION = 4, 4, 4, 16
local filter, totals = KEYS[1], KEYS[4]
local limit, bits, hashes, since = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local checkouts = #KEYS - FIXED_KEYS
assert(#ARGV == FIXED_ARGS + checkouts * ARGS_EACH, 'checkout_precheck.lua: args do not fit the keys')

-- After a failover or a restart from disk the filter may lack the latest writes. Buyers' totals have versions instead.
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
-- One call for all: a call from a script costs more than its work.
local buyers = redis.call('MGET', unpack(KEYS, FIXED_KEYS + 1))

local function all_sold()
  local sold, stock = unpack(redis.call('HMGET', totals, '#sold', '#stock'))
  return sold and stock and tonumber(sold) >= tonumber(stock)
end

-- The first bits of all items; for nearly every item that is not sold out no further bit is read.
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

-- The version of the buyer's totals if this quantity of the item exceeds the limit.
local function over_limit(buyer, item, quantity)
  local numbers = {}
  for number in string.gmatch(buyer, '%d+') do
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
local hints = { slot and 0 or 1 }
for i = 1, checkouts do
  local at = FIXED_ARGS + (i - 1) * ARGS_EACH
  local item, quantity = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local over = buyers[i] and over_limit(buyers[i], item, quantity)
  if sold_out then
    hints[1 + i] = 2
  elseif firsts and firsts[i] == 1 and in_filter(tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])) then
    hints[1 + i] = 1
  elseif over then
    hints[1 + i] = FIRST_VERSION + over
  elseif not slot then
    hints[1 + i] = 3
  else
    hints[1 + i] = 0
  end
end
return hints
