-- A request failed in a way that may pass. When that happened to several accounts in a row, the breaker opens.
--
-- KEYS 1 breaker, 2 failing (see admit.lua)
-- ARGV 1 the clock; empty: the server's own. 2 the account. 3 for how long a failure counts. 4 how many accounts open it
--      5 the first pause. 6 for how long an open one is remembered that nobody asks
-- Answers {the time to the next look, or -1 if it is closed; 1 if this failure has opened it}.

local breaker, failing = KEYS[1], KEYS[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local probe = tonumber(redis.call('HGET', breaker, 'probe'))
if probe then
  redis.call('PEXPIRE', breaker, math.ceil(tonumber(ARGV[6]) / 1000))
  return { math.max(probe - now, 0), 0 }
end
redis.call('ZREMRANGEBYSCORE', failing, '-inf', now - tonumber(ARGV[3]))
redis.call('ZADD', failing, now, ARGV[2])
redis.call('PEXPIRE', failing, math.ceil(tonumber(ARGV[3]) / 1000))
if redis.call('ZCARD', failing) < tonumber(ARGV[4]) then
  return { -1, 0 }
end
local pause = tonumber(ARGV[5])
redis.call('DEL', failing)
redis.call('HSET', breaker, 'probe', now + pause, 'pause', 2 * pause, 'tried', now)
redis.call('PEXPIRE', breaker, math.ceil(tonumber(ARGV[6]) / 1000))
return { pause, 1 }
