-- Buys what is in a buyer's cart: checks limit and stock, and decrements them.
--
-- KEYS[1]  cart    hash  item -> pieces
-- KEYS[2]  stock   hash  item -> remaining pieces
-- KEYS[3]  bought  hash  buyer -> pieces
-- ARGV[1]  buyer  ARGV[2]  limit
--
-- Returns  items and pieces in turn, negative pieces for those that were not sold; nothing without a cart.
assert(#KEYS == 3 and #ARGV == 2, 'buy.lua: 3 keys and 2 args expected')
local cart, stock, bought = KEYS[1], KEYS[2], KEYS[3]
local buyer, limit = ARGV[1], tonumber(ARGV[2])
local lines = redis.call('HGETALL', cart)
if #lines == 0 then
  return lines
end
local has = tonumber(redis.call('HGET', bought, buyer) or 0)
local before = has
for at = 1, #lines, 2 do
  local item, pieces = lines[at], tonumber(lines[at + 1])
  if has + pieces <= limit and tonumber(redis.call('HGET', stock, item) or 0) >= pieces then
    redis.call('HINCRBY', stock, item, -pieces)
    has = has + pieces
  else
    pieces = -pieces
  end
  lines[at + 1] = pieces
end
if has > before then
  redis.call('HSET', bought, buyer, has)
end
redis.call('DEL', cart)
return lines
