-- Adds messages; an id that is known already is left alone, so that a push may be repeated.
-- KEYS: jobs, ready, delayed
-- ARGV: wake channel, lane, delay in ms (0: at once), then id and payload of at most 500 messages
-- Answers how many were new.
local delay = tonumber(ARGV[3])
local fresh = {}
for i = 4, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) == 1 then
    fresh[#fresh + 1] = ARGV[i]
  end
end
if #fresh == 0 then
  return 0
end
if delay > 0 then
  local time = redis.call('TIME')
  local due = time[1] * 1000 + math.floor(time[2] / 1000) + delay
  for _, id in ipairs(fresh) do
    redis.call('ZADD', KEYS[3], due, id)
  end
else
  redis.call('RPUSH', KEYS[2], unpack(fresh))
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return #fresh
