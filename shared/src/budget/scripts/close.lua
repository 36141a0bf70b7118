-- The platform answered 429 all the same: nothing is granted for a while, to anybody, and less afterwards.
--
-- KEYS 1 state (see grant.lua)
-- ARGV 1 the clock; empty: the server's own. 2 how long; empty: the platform did not say. 3 the shortest pause then;
--      4 the longest: each is twice the one before, unless that is long over. 5 hold. 6 quota. 7 window
-- Answers for how long the endpoint is closed now.

local state = KEYS[1]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local asked, shortest, longest = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local quota, window = tonumber(ARGV[6]), tonumber(ARGV[7])

local kept = redis.call('HMGET', state, 'opens', 'pause', 'ceiling', 'raised_from')
local opens, pause = tonumber(kept[1]) or 0, tonumber(kept[2])
-- While it is closed, the 429s of requests that were already on their way do not count again.
local first = now >= opens
if asked then
  opens = math.max(opens, now + asked)
elseif first then
  pause = (pause and opens + longest > now) and math.min(2 * pause, longest) or shortest
  opens = now + pause
  redis.call('HSET', state, 'pause', pause)
end
if first then
  -- Additive increase, multiplicative decrease. The increase is ceiling.lua's, from the end of the pause on. Here are three
  -- tenths off, down to a tenth of the quota.
  local ceiling = ceiling_now(now, quota, window, kept[3], kept[4])
  redis.call('HSET', state, 'ceiling', tostring(math.max(ceiling * 0.7, quota / 10)))
end
redis.call('HSET', state, 'opens', opens, 'raised_from', opens)
-- Until the ceiling has been back at the quota for long, by its slowest way: eighteen windows.
redis.call('PEXPIRE', state, math.ceil((opens - now + 2 * tonumber(ARGV[5]) + 20 * window + 60000000) / 1000))
return opens - now
