-- Adds messages; an id that is known already is left alone, so that a push may be repeated.
-- KEYS: those of lines.lua, delayed
-- ARGV: wake channel, lane, delay in ms (0: at once), then at most 500 messages by group: a group, how many of it follow,
--       then their ids and payloads
-- Answers how many were new.
local delay = tonumber(ARGV[3])
local due
if delay > 0 then
  local time = redis.call('TIME')
  due = time[1] * 1000 + math.floor(time[2] / 1000) + delay
end

-- Registers messages, whose ids and payloads stand in ARGV from there on. Answers the ids that are new, each once.
local function register(from, count)
  local ids, seen, simple = {}, {}, count > 1
  for n = 1, count do
    local id = ARGV[from + 2 * n - 2]
    ids[n] = id
    simple = simple and not seen[id]
    seen[id] = true
  end
  if simple then
    for _, known in ipairs(redis.call('HMGET', KEYS[1], unpack(ids))) do
      simple = simple and not known
    end
  end
  if simple then
    redis.call('HSET', KEYS[1], unpack(ARGV, from, from + 2 * count - 1))
    return ids
  end
  local fresh = {}
  for n, id in ipairs(ids) do
    if redis.call('HSETNX', KEYS[1], id, ARGV[from + 2 * n - 1]) == 1 then
      fresh[#fresh + 1] = id
    end
  end
  return fresh
end

local added, at = 0, 4
while at < #ARGV do
  local group, count = ARGV[at], tonumber(ARGV[at + 1])
  local fresh = register(at + 2, count)
  at = at + 2 + 2 * count
  if #fresh > 0 then
    added = added + #fresh
    if due then
      for _, id in ipairs(fresh) do
        redis.call('ZADD', KEYS[6], due, id)
      end
    else
      line_up(group, fresh, false)
    end
  end
end
if added > 0 then
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return added
