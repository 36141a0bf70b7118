-- Gives claims back to the front of the line, in their order; no crash is counted.
-- KEYS: jobs, ready, solo, claims, crashes, inflight of this worker
-- ARGV: wake channel, lane, worker, crashes that make a suspect, then for at most 500 claims, oldest first: id, number
-- Answers how many were given back.
local back = 0
for i = #ARGV - 1, 5, -2 do
  local id = ARGV[i]
  if redis.call('HGET', KEYS[4], id) == ARGV[3] .. ':' .. ARGV[i + 1] then
    redis.call('HDEL', KEYS[4], id)
    redis.call('ZREM', KEYS[6], id)
    if redis.call('HEXISTS', KEYS[1], id) == 1 then
      local crashes = tonumber(redis.call('HGET', KEYS[5], id) or 0)
      redis.call('LPUSH', crashes >= tonumber(ARGV[4]) and KEYS[3] or KEYS[2], id)
      back = back + 1
    end
  end
end
if back > 0 then
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return back
