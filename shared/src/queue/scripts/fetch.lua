-- Promotes what is due and claims at most the worker's free slots, the groups in turn.
-- KEYS: those of lines.lua, solo, delayed, claims, crashes, workers, inflight of this worker
-- ARGV: worker, number of the first claim, free slots, 1 if one of them may take a suspect, crashes that make a suspect
-- Answers: ms to the next due job (-1: none), 1 if there is more to do at once, suspects left,
--          crashes of the first job if it is a suspect (else -1), then for each claimed job: id, payload
local worker, number, slots = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local suspects_from = tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local chunk = 500

local due = redis.call('ZRANGEBYSCORE', KEYS[7], '-inf', now, 'LIMIT', 0, chunk)
if #due > 0 then
  redis.call('ZREM', KEYS[7], unpack(due))
  local payloads = redis.call('HMGET', KEYS[1], unpack(due))
  local crashes = redis.call('HMGET', KEYS[9], unpack(due))
  local comers = {}
  for i, id in ipairs(due) do
    if tonumber(crashes[i] or 0) >= suspects_from then
      redis.call('RPUSH', KEYS[6], id)
    elseif payloads[i] then
      collect(comers, group_of(payloads[i]), id)
    end
  end
  line_up_all(comers, false)
end

local taken, claims, members, seen, count = {}, {}, {}, {}, 0
local function take(id, payload)
  local at = string.format('%d', number + count)
  local n = count * 2
  taken[n + 1], taken[n + 2] = id, payload
  claims[n + 1], claims[n + 2] = id, worker .. ':' .. at
  members[n + 1], members[n + 2] = at, id
  seen[id] = true
  count = count + 1
end

-- Ids whose payload is gone (finished, forgotten or promoted) or that somebody holds are dropped here.
local suspect = -1
local looked = 0
if ARGV[4] == '1' then
  while looked < chunk do
    local id = redis.call('LPOP', KEYS[6])
    if not id then
      break
    end
    looked = looked + 1
    local payload = redis.call('HGET', KEYS[1], id)
    if payload and not redis.call('HGET', KEYS[8], id) then
      suspect = tonumber(redis.call('HGET', KEYS[9], id) or 0)
      take(id, payload)
      break
    end
  end
end

-- A group's line has ended: its tag is kept if it is ahead.
local function leave(group, tag, was_served)
  local others = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  local served = tonumber(others[2] or was_served and tag - 1 or tag)
  if not others[1] then
    redis.call('SET', KEYS[5], served)
  end
  redis.call('ZADD', KEYS[4], tag, group)
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', served)
end

-- Takes at most `most` jobs from the front of a group's line. Each that is claimed counts as a request; how many more it
-- was is known at its end.
local function turn(group, tag, most)
  local places = redis.call('HMGET', KEYS[2], group .. ':first', group .. ':next')
  local first, behind = tonumber(places[1] or 0), tonumber(places[2] or 0)
  local fields = {}
  for place = first, math.min(first + most, behind) - 1 do
    fields[place - first + 1] = place_of(group, place)
  end
  local before, found = count, #fields
  if found > 0 then
    local ids = redis.call('HMGET', KEYS[2], unpack(fields))
    redis.call('HDEL', KEYS[2], unpack(fields))
    local payloads = redis.call('HMGET', KEYS[1], unpack(ids))
    local holders = redis.call('HMGET', KEYS[8], unpack(ids))
    for i, id in ipairs(ids) do
      if payloads[i] and not holders[i] and not seen[id] then
        take(id, payloads[i])
      end
    end
  end
  looked = looked + found
  tag = tag + count - before
  if first + found < behind then
    redis.call('HSET', KEYS[2], group .. ':first', first + found)
    redis.call('ZADD', KEYS[3], tag, group)
  else
    redis.call('HDEL', KEYS[2], group .. ':first', group .. ':next')
    redis.call('ZREM', KEYS[3], group)
    if tag > 0 then
      leave(group, tag, count > before)
    end
  end
end

while count < slots and looked < chunk do
  local first = redis.call('ZRANGE', KEYS[3], 0, 1, 'WITHSCORES')
  if #first == 0 then
    break
  end
  local most = math.min(slots - count, chunk - looked)
  if #first > 2 then
    -- Until it has had as much as the second one.
    most = math.min(most, math.max(1, first[4] - first[2]))
  end
  turn(first[1], tonumber(first[2]), most)
end
if count > 0 then
  redis.call('HSET', KEYS[8], unpack(claims))
  redis.call('ZADD', KEYS[11], unpack(members))
  redis.call('ZADD', KEYS[10], now, worker)
end

local next_due = -1
local first = redis.call('ZRANGE', KEYS[7], 0, 0, 'WITHSCORES')
if #first > 0 then
  next_due = math.max(0, tonumber(first[2]) - now)
end
local more = 0
if next_due == 0 or looked >= chunk or count >= slots then
  more = 1
end
local answer = { next_due, more, redis.call('LLEN', KEYS[6]), suspect }
for i = 1, 2 * count do
  answer[i + 4] = taken[i]
end
return answer
