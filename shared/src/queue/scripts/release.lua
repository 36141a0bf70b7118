-- Gives claims back to the front of their groups' lines, in their order; no crash is counted.
-- KEYS: those of lines.lua, solo, claims, crashes, inflight of this worker, waiting
-- ARGV: wake channel, lane, worker, crashes that make a suspect, then for at most 500 claims, oldest first: id, number
-- Answers how many were given back.
local back, comers = 0, {}
for i = #ARGV - 1, 5, -2 do
  local id, claim = ARGV[i], ARGV[3] .. ':' .. ARGV[i + 1]
  if redis.call('HGET', KEYS[7], id) == claim then
    redis.call('HDEL', KEYS[7], id)
    redis.call('ZREM', KEYS[9], id)
    redis.call('SREM', KEYS[10], claim)
    local payload = redis.call('HGET', KEYS[1], id)
    if payload then
      if tonumber(redis.call('HGET', KEYS[8], id) or 0) >= tonumber(ARGV[4]) then
        redis.call('LPUSH', KEYS[6], id)
      else
        collect(comers, group_of(payload), id)
      end
      back = back + 1
    end
  end
end
line_up_all(comers, true)
if back > 0 then
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return back
