-- Starts a log that was lost. Only the first of several processes that found it lost changes anything: `used` tells.
--
-- KEYS 1 log, 2 state (see grant.lua)
-- ARGV 1 the clock; empty: the server's own. 2 hold. 3 the newest `used` that this process has seen
--      4 for how long nothing may be granted, because entries that are lost may still count at the platform

local log, state = KEYS[1], KEYS[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local hold, seen, blocked = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local kept = redis.call('HMGET', state, 'used', 'opens')
local used, opens = tonumber(kept[1]), tonumber(kept[2]) or 0
local ahead = redis.call('ZREMRANGEBYSCORE', log, string.format('(%d', now + hold), '+inf')
if used and used >= seen and ahead == 0 then
  return 0
end
if ahead > 0 then
  -- The clock was set back, so an instant of before says nothing.
  opens = 0
end
opens = math.max(opens, now + blocked)
redis.call('HSET', state, 'used', math.max(now, seen), 'opens', opens)
redis.call('PEXPIRE', state, math.ceil((opens - now + 2 * hold + 60000000) / 1000))
return 1
