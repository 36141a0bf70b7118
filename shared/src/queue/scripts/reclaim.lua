-- Takes what a dead worker held back to the front of its groups' lines, at most 500 jobs a call, and counts the crash: but
-- not against a job that only waited, for it ran nothing that a worker could have died of.
-- KEYS: those of lines.lua, workers, solo, claims, crashes, inflight of the dead worker, delayed, waiting
-- ARGV: wake channel, lane, dead worker, ms without a heartbeat after which it is dead, crashes that make a suspect,
--       crashes while alone after which a job waits, twice as long from crash to crash, an hour at most
-- Answers: jobs taken back, 1 if there are more.
local worker = ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = redis.call('ZSCORE', KEYS[6], worker)
if not seen or tonumber(seen) > now - tonumber(ARGV[4]) then
  return { 0, 0 }
end
local members = redis.call('ZREVRANGE', KEYS[10], 0, 499, 'WITHSCORES')
local back, comers, suspects = 0, {}, {}
for i = 1, #members, 2 do
  local id, claim = members[i], worker .. ':' .. members[i + 1]
  local waited = redis.call('SREM', KEYS[12], claim) == 1
  if redis.call('HGET', KEYS[8], id) == claim then
    redis.call('HDEL', KEYS[8], id)
    local payload = redis.call('HGET', KEYS[1], id)
    if payload then
      -- A suspect runs alone, so from there on each crash is its own.
      local crashes = waited and tonumber(redis.call('HGET', KEYS[9], id) or 0) or redis.call('HINCRBY', KEYS[9], id, 1)
      local beyond = crashes - tonumber(ARGV[5]) - tonumber(ARGV[6])
      if beyond > 0 and not waited then
        -- It is poison and runs all the same: a revocation. It must not take one worker after the other with it.
        redis.call('ZADD', KEYS[11], now + math.min(2 ^ math.min(beyond, 20), 3600) * 1000, id)
      elseif crashes >= tonumber(ARGV[5]) then
        table.insert(suspects, 1, id)
      else
        collect(comers, group_of(payload), id)
      end
      back = back + 1
    end
  end
  redis.call('ZREM', KEYS[10], id)
end
line_up_all(comers, true)
-- Behind those that wait there: one that kills worker after worker does not keep the others from running.
if #suspects > 0 then
  redis.call('RPUSH', KEYS[7], unpack(suspects))
end
local more = redis.call('ZCARD', KEYS[10]) > 0 and 1 or 0
if more == 0 then
  redis.call('ZREM', KEYS[6], worker)
end
if back > 0 then
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return { back, more }
