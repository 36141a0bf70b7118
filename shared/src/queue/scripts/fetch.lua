-- Promotes what is due and claims at most the worker's free slots.
-- KEYS: jobs, ready, solo, delayed, claims, crashes, workers, inflight of this worker
-- ARGV: worker, number of the first claim, free slots, 1 if one of them may take a suspect, crashes that make a suspect
-- Answers: ms to the next due job (-1: none), 1 if there is more to do at once, suspects left,
--          then for each claimed job: id, payload, crashes, 1 if it is a suspect
local worker, number, slots = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local suspects_from = tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local chunk = 500

local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, chunk)
if #due > 0 then
  redis.call('ZREM', KEYS[4], unpack(due))
  local crashes = redis.call('HMGET', KEYS[6], unpack(due))
  local plain = {}
  for i, id in ipairs(due) do
    if tonumber(crashes[i] or 0) >= suspects_from then
      redis.call('RPUSH', KEYS[3], id)
    else
      plain[#plain + 1] = id
    end
  end
  if #plain > 0 then
    redis.call('RPUSH', KEYS[2], unpack(plain))
  end
end

local taken, claims, members, count = {}, {}, {}, 0
local function take(id, payload, crashes, suspect)
  local at = number + count
  local n = count * 4
  taken[n + 1], taken[n + 2], taken[n + 3], taken[n + 4] = id, payload, crashes, suspect
  n = count * 2
  claims[n + 1], claims[n + 2] = id, worker .. ':' .. at
  members[n + 1], members[n + 2] = at, id
  count = count + 1
end

-- Ids whose payload is gone (finished, forgotten or promoted) or that somebody holds are dropped here.
local seen = {}
local looked = 0
if ARGV[4] == '1' then
  while looked < chunk do
    local id = redis.call('LPOP', KEYS[3])
    if not id then
      break
    end
    looked = looked + 1
    local payload = redis.call('HGET', KEYS[1], id)
    if payload and not redis.call('HGET', KEYS[5], id) then
      take(id, payload, tonumber(redis.call('HGET', KEYS[6], id) or 0), 1)
      seen[id] = true
      break
    end
  end
end
while count < slots and looked < chunk do
  local ids = redis.call('LPOP', KEYS[2], math.min(slots - count, chunk - looked))
  if not ids or #ids == 0 then
    break
  end
  looked = looked + #ids
  local payloads = redis.call('HMGET', KEYS[1], unpack(ids))
  local holders = redis.call('HMGET', KEYS[5], unpack(ids))
  for i, id in ipairs(ids) do
    if payloads[i] and not holders[i] and not seen[id] then
      take(id, payloads[i], 0, 0)
      seen[id] = true
    end
  end
end
if count > 0 then
  redis.call('HSET', KEYS[5], unpack(claims))
  redis.call('ZADD', KEYS[8], unpack(members))
  redis.call('ZADD', KEYS[7], now, worker)
end

local next_due = -1
local first = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if #first > 0 then
  next_due = math.max(0, tonumber(first[2]) - now)
end
local more = 0
if next_due == 0 or looked >= chunk or count >= slots then
  more = 1
end
local answer = { next_due, more, redis.call('LLEN', KEYS[3]) }
for i = 1, #taken do
  answer[i + 3] = taken[i]
end
return answer
