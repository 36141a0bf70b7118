-- Asks the breaker whether a request may be sent.
--
-- KEYS 1 breaker  hash, there while it is open: `probe` (the instant of the next look), `pause` (how long after it comes the
--                 one after), `tried` (the last look)
--      2 failing  zset, account -> its last failure since the last success
-- ARGV 1 the clock; empty: the server's own. 2 1 if somebody waits for the answer. 3 the time between two looks for those
--      4 the longest pause. 5 1 to ask alone: a look that would be let through is not taken
-- Answers {0 closed, 1 open and this request is a look, 2 open; when the next look is; 1 if a success is news}.

local breaker, failing = KEYS[1], KEYS[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local kept = redis.call('HMGET', breaker, 'probe', 'pause', 'tried')
local probe, pause, tried = tonumber(kept[1]), tonumber(kept[2]), tonumber(kept[3])
if not probe then
  return { 0, 0, redis.call('EXISTS', failing) }
end
local due = probe
if ARGV[2] == '1' then
  due = tried + tonumber(ARGV[3])
end
if now < due then
  return { 2, due - now, 1 }
end
if ARGV[5] == '1' then
  return { 1, 0, 1 }
end
redis.call('HSET', breaker, 'tried', now)
if now >= probe then
  -- Its answer closes the breaker, or nothing does until the next one: also if it never comes.
  redis.call('HSET', breaker, 'probe', now + pause, 'pause', math.min(2 * pause, tonumber(ARGV[4])))
end
return { 1, 0, 1 }
