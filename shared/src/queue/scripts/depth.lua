-- How much there is in a lane. Every part costs O(1).
-- KEYS: ready, solo, delayed, claims
-- Answers: ready (suspects included), delayed, running, first id in line ('' if none), now in ms
local time = redis.call('TIME')
return {
  redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2]),
  redis.call('ZCARD', KEYS[3]),
  redis.call('HLEN', KEYS[4]),
  redis.call('LINDEX', KEYS[1], 0) or redis.call('LINDEX', KEYS[2], 0) or '',
  time[1] * 1000 + math.floor(time[2] / 1000),
}
