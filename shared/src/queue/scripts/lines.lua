-- Lines and turns: what all scripts share that put jobs into lines or take them out. It stands before each of them.
--
-- Every group has a line of its own: the field `group:place` of `lines` is the id at that place, `group:first` is the first
-- place that is taken, `group:next` the first one behind the line. Groups that have a line stand in `turns`, by their tag:
-- the requests given to them, on a scale that all groups share. The lowest tag has the next turn, and who gets in line starts
-- from there: whoever was away has saved up nothing. A group that was given more than that when its line ended stands in
-- `ahead`, with its tag, until the others have caught up. `clock` keeps the lowest tag while nobody is in line. This is
-- start-time fair queueing (Goyal, Vin, Cheng 1996). Tags and places are whole numbers far below 2^53, so they are exact.
-- All of it goes with the lane's last job (`clean_if_empty`).
-- KEYS of every script that this stands before: jobs, lines, turns, ahead, clock, then its own.

-- A message without a group, or that this version can't read, belongs to the group ''.
local function group_of(payload)
  local read, message = pcall(cjson.decode, payload)
  local group = read and type(message) == 'table' and message.group
  return type(group) == 'string' and group or ''
end

-- Where a group's line has an id.
local function place_of(group, place)
  return string.format('%s:%d', group, place)
end

-- Adds an id to those that are to line up.
local function collect(comers, group, id)
  local ids = comers[group]
  if not ids then
    ids = {}
    comers[group] = ids
    comers[#comers + 1] = group
  end
  ids[#ids + 1] = id
end

-- The lowest tag.
local function now_served()
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  return tonumber(first[2] or redis.call('GET', KEYS[5]) or 0)
end

-- A group's tag while it has no line.
local function tag_without_line(group)
  return math.max(now_served(), tonumber(redis.call('ZSCORE', KEYS[4], group) or 0))
end

-- Puts ids behind their group's line, in their order; or before it, each before the one before.
local function line_up(group, ids, in_front)
  local places = redis.call('HMGET', KEYS[2], group .. ':first', group .. ':next')
  local first, behind = tonumber(places[1] or 0), tonumber(places[2] or 0)
  local entries = {}
  for n, id in ipairs(ids) do
    entries[2 * n - 1], entries[2 * n] = place_of(group, in_front and first - n or behind + n - 1), id
  end
  local n = #entries
  if in_front then
    first = first - #ids
  else
    behind = behind + #ids
  end
  entries[n + 1], entries[n + 2] = group .. ':first', first
  entries[n + 3], entries[n + 4] = group .. ':next', behind
  redis.call('HSET', KEYS[2], unpack(entries))
  if not places[1] then
    redis.call('ZADD', KEYS[3], tag_without_line(group), group)
    redis.call('ZREM', KEYS[4], group)
  end
end

-- Says that jobs may have left the lane. If none is there any more, nobody is ahead of anybody, and what still stands in line
-- are ids without a job. Answers whether it is so.
local function clean_if_empty()
  local empty = redis.call('EXISTS', KEYS[1]) == 0
  if empty then
    redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  end
  return empty
end

local function line_up_all(comers, in_front)
  for _, group in ipairs(comers) do
    line_up(group, comers[group], in_front)
  end
end

