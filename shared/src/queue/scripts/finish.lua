-- Ends claims, each only if it is still the one that holds the job.
-- KEYS: those of lines.lua, delayed, claims, crashes, inflight of this worker, waiting
-- ARGV: done channel, wake channel, lane, worker, number of claims (at most 500), then for each claim: id, number, verb, value
--         verb `final`: the job leaves Redis and value is its notice; `gone`: it leaves without one; `delay`: it comes back in
--         value ms;
--       then for each claim whose job cost more than the one request that its fetch has counted: its position (from 1), its
--       group, how many more
-- Answers the positions (from 1) of the claims that were not ours any more.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local count = tonumber(ARGV[5])
local ids = {}
for n = 1, count do
  ids[n] = ARGV[2 + 4 * n]
end
local holders = redis.call('HMGET', KEYS[7], unpack(ids))
local lost, ours, ended, marks, leaving, notices, due = {}, {}, {}, {}, {}, {}, {}
for n, id in ipairs(ids) do
  local at = 2 + 4 * n
  local verb, value = ARGV[at + 2], ARGV[at + 3]
  local claim = ARGV[4] .. ':' .. ARGV[at + 1]
  if holders[n] == claim then
    ours[n] = true
    ended[#ended + 1] = id
    marks[#marks + 1] = claim
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
    -- A flush took the claim, and nobody has the job: its last word, which is in its row by now, has nobody else to say it.
    if verb == 'final' and not holders[n] then
      notices[#notices + 1] = value
    end
  end
end
-- What frees memory comes first: a full Redis refuses a script only at its first write, and what is done must be reported.
if #ended > 0 then
  redis.call('HDEL', KEYS[7], unpack(ended))
  redis.call('ZREM', KEYS[9], unpack(ended))
  if redis.call('EXISTS', KEYS[10]) == 1 then
    redis.call('SREM', KEYS[10], unpack(marks))
  end
end
if #leaving > 0 then
  redis.call('HDEL', KEYS[1], unpack(leaving))
  if redis.call('EXISTS', KEYS[8], KEYS[6]) > 0 then
    redis.call('HDEL', KEYS[8], unpack(leaving))
    redis.call('ZREM', KEYS[6], unpack(leaving))
  end
end
if #notices > 0 then
  redis.call('PUBLISH', ARGV[1], table.concat(notices, '\n'))
end
if #due > 0 then
  redis.call('ZADD', KEYS[6], unpack(due))
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
for i = 6 + 4 * count, #ARGV, 3 do
  if ours[tonumber(ARGV[i])] then
    local group, more = ARGV[i + 1], tonumber(ARGV[i + 2])
    if redis.call('ZSCORE', KEYS[3], group) then
      redis.call('ZINCRBY', KEYS[3], more, group)
    else
      redis.call('ZADD', KEYS[4], tag_without_line(group) + more, group)
    end
  end
end
if #leaving > 0 and clean_if_empty() then
  -- A mark goes with its claim; one that was left behind goes now.
  redis.call('UNLINK', KEYS[10])
end
return lost
