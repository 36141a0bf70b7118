-- How much there is in a lane. No part costs more for a longer line.
-- KEYS: lines, turns, solo, delayed, claims
-- Answers: ready (suspects included), suspects, delayed, running, now in ms, the first of each line, of at most 100 groups
local time = redis.call('TIME')
local groups = redis.call('ZRANGE', KEYS[2], 0, 99)
local fields = {}
for i, group in ipairs(groups) do
  fields[i] = group .. ':first'
end
local heads = {}
if #fields > 0 then
  for i, place in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
    heads[i] = groups[i] .. ':' .. (place or 0)
  end
  heads = redis.call('HMGET', KEYS[1], unpack(heads))
end
heads[#heads + 1] = redis.call('LINDEX', KEYS[3], 0) or nil
local suspects = redis.call('LLEN', KEYS[3])
return {
  -- Two fields of each line are its ends.
  redis.call('HLEN', KEYS[1]) - 2 * redis.call('ZCARD', KEYS[2]) + suspects,
  suspects,
  redis.call('ZCARD', KEYS[4]),
  redis.call('HLEN', KEYS[5]),
  time[1] * 1000 + math.floor(time[2] / 1000),
  heads,
}
