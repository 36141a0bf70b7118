-- How an endpoint stands. Changes nothing.
--
-- KEYS 1 log, 2 state (see grant.lua), 3 breaker (see admit.lua)
-- ARGV 1 the clock; empty: the server's own. 2 quota. 3 window
-- Answers {entries in use, ceiling, for how long nothing is granted, the time to the breaker's next look; -1: it is closed}.

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local quota, window = tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[2], 'opens', 'ceiling', 'raised_from')
local ceiling = ceiling_now(now, quota, window, kept[2], kept[3])
local probe = tonumber(redis.call('HGET', KEYS[3], 'probe'))
return {
  redis.call('ZCOUNT', KEYS[1], string.format('(%d', now), '+inf'),
  math.max(1, math.floor(ceiling)),
  math.max((tonumber(kept[1]) or 0) - now, 0),
  probe and math.max(probe - now, 0) or -1,
}
