-- Ends claims, each only if it is still the one that holds the job.
-- KEYS: jobs, delayed, claims, crashes, inflight of this worker
-- ARGV: done channel, wake channel, lane, worker, then for at most 500 claims: id, number, verb, value
--   verb `final`: the job leaves Redis and value is its notice; `gone`: it leaves without one; `delay`: it comes back in value ms
-- Answers the positions (from 1) of the claims that were not ours any more.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = {}
for i = 5, #ARGV, 4 do
  ids[#ids + 1] = ARGV[i]
end
local holders = redis.call('HMGET', KEYS[3], unpack(ids))
local lost, ended, leaving, notices, due = {}, {}, {}, {}, {}
for n, id in ipairs(ids) do
  local at = 5 + (n - 1) * 4
  if holders[n] == ARGV[4] .. ':' .. ARGV[at + 1] then
    local verb, value = ARGV[at + 2], ARGV[at + 3]
    ended[#ended + 1] = id
    if verb == 'delay' then
      due[#due + 1] = now + tonumber(value)
      due[#due + 1] = id
    else
      leaving[#leaving + 1] = id
      if verb == 'final' then
        notices[#notices + 1] = value
      end
    end
  else
    lost[#lost + 1] = n
  end
end
-- What frees memory comes first: a full Redis refuses a script only at its first write, and what is done must be reported.
if #ended > 0 then
  redis.call('HDEL', KEYS[3], unpack(ended))
  redis.call('ZREM', KEYS[5], unpack(ended))
end
if #leaving > 0 then
  redis.call('HDEL', KEYS[1], unpack(leaving))
  redis.call('HDEL', KEYS[4], unpack(leaving))
  redis.call('ZREM', KEYS[2], unpack(leaving))
end
if #notices > 0 then
  redis.call('PUBLISH', ARGV[1], table.concat(notices, '\n'))
end
if #due > 0 then
  redis.call('ZADD', KEYS[2], unpack(due))
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return lost
