-- Returns which of the rights that the service needs this user does not have. It touches no key and no channel.
--
-- ARGV[1]  key       any key with the prefix
-- ARGV[2]  channel   that of the sold-out events
-- ARGV[3]  pattern   of all keys, and of the channel
-- then     commands  as in an ACL rule: get, script|load
--
-- Returns  for each missing right the command, and the ACL rule that grants it. While the keys are refused, only they are.
assert(#KEYS == 0 and #ARGV >= 3, 'rights.lua: no key and 3 args at least expected')

local key, channel, pattern = ARGV[1], ARGV[2], ARGV[3]
local uses_channel = { publish = true, subscribe = true }
local missing = {}

local function need(rule, command, ...)
  local words = {}
  for word in string.gmatch(command, '[^|]+') do
    words[#words + 1] = word
  end
  for _, argument in ipairs({ ... }) do
    words[#words + 1] = argument
  end
  -- An error means that this server does not know the command, or cannot check: then a call finds it out.
  local is_checked, may = pcall(redis.acl_check_cmd, unpack(words))
  if is_checked and not may then
    missing[#missing + 1] = command
    missing[#missing + 1] = rule
    return false
  end
  return true
end

-- This script runs, so the user may run EVALSHA: if not with a key, then the key is refused.
local may_use_keys = need('~' .. pattern, 'evalsha', '', '1', key)
for i = 4, #ARGV do
  local command = ARGV[i]
  if uses_channel[command] then
    if need('+' .. command, command) then
      need('&' .. pattern, command, channel)
    end
  elseif may_use_keys then
    -- Wherever the command has its keys, this key is there.
    need('+' .. command, command, key, key, key)
  end
end
return missing
