-- Puts an item into a buyer's cart.
--
-- KEYS[1]  cart    hash  item -> pieces
-- KEYS[2]  stock   hash  item -> remaining pieces
-- KEYS[3]  bought  hash  buyer -> pieces
-- ARGV[1]  buyer  ARGV[2]  limit  ARGV[3]  item
--
-- Returns  the number of items in the cart, -1 when the item is sold out, -2 beyond the limit.
assert(#KEYS == 3 and #ARGV == 3, 'collect.lua: 3 keys and 3 args expected')
local cart, stock, bought = KEYS[1], KEYS[2], KEYS[3]
local buyer, limit, item = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if tonumber(redis.call('HGET', stock, item) or 0) < 1 then
  return -1
end
local collected = redis.call('HLEN', cart) + (redis.call('HGET', bought, buyer) or 0)
if redis.call('HEXISTS', cart, item) == 0 and collected >= limit then
  return -2
end
redis.call('HSET', cart, item, 1)
return redis.call('HLEN', cart)
