-- One process's turn at one endpoint's sliding log: notes the answers that came, takes back what was not used, grants
-- what is free. It is atomic, and the only place where an entry is spent, so no two processes can spend the same one.
--
-- KEYS 1 log      zset, permit -> the instant at which its entry is free again
--      2 state    hash, `used` (when a permit was last granted), `opens` (nothing is granted before), `bulk` and `paced`
--                 (no bulk permit is granted before either: the even pace, and twice that), `pause` (the length of the last
--                 pause that had no length given), `ceiling` and `raised_from` (close.lua: what is granted in a window since
--                 the last 429, and the instant from which on that grows again)
--      3 waiting  zset, process -> the instant until which its interactive callers hold bulk grants back
-- ARGV 1 the clock; empty: the server's own     8 the number of the first permit to grant
--      2 quota, permits in a window             9 how many from there on were perhaps granted by a turn whose
--      3 window                                   answer was lost: they are taken back first
--      4 keep: how long an entry is held       10 interactive permits asked for
--        after the response                    11 bulk permits asked for
--      5 hold: how long after the grant, if    12 how long an interactive caller that gets nothing holds bulk back
--        no response is noted                  13 how many permits follow whose response has come; then they, then
--      6 the newest `used` that this process      those to take back
--        has seen
--      7 process
-- All instants and durations are microseconds. Answers false if the log was lost, else
-- {used, entries, interactive granted, bulk granted, wait of the next interactive one, of the next bulk one, ceiling}.

local log, state, waiting = KEYS[1], KEYS[2], KEYS[3]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local quota, window, keep, hold = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local seen, process, first = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local want_interactive, want_bulk = tonumber(ARGV[10]), tonumber(ARGV[11])

local function permit(number)
  return string.format('%s:%d', process, number)
end

redis.call('ZREMRANGEBYSCORE', log, '-inf', now)
-- LT: an entry only ever gets shorter. One that a flush or its own end took is put back, for its request was made.
local settled = 13 + tonumber(ARGV[13])
for i = 14, settled do
  redis.call('ZADD', log, 'LT', now + keep, permit(ARGV[i]))
end
for i = settled + 1, #ARGV do
  redis.call('ZREM', log, permit(ARGV[i]))
end
for number = first, first + tonumber(ARGV[9]) - 1 do
  redis.call('ZREM', log, permit(number))
end
redis.call('PEXPIRE', log, math.ceil(hold / 1000))

-- Lost: flushed or never there; or restored from an older copy, or from a clock that ran ahead.
local kept = redis.call('HMGET', state, 'used', 'opens', 'bulk', 'ceiling', 'raised_from', 'paced')
local used, opens, bulk, paced = tonumber(kept[1]), tonumber(kept[2]) or 0, tonumber(kept[3]) or 0, tonumber(kept[6]) or 0
local last = redis.call('ZRANGE', log, -1, -1, 'WITHSCORES')
if not used or used < seen or (last[2] and tonumber(last[2]) > now + hold) then
  return false
end

local ceiling = ceiling_now(now, quota, window, kept[4], kept[5])
local interval = window / ceiling
ceiling = math.max(1, math.floor(ceiling))

local entries = redis.call('ZCARD', log)
local number = first
local function grant()
  redis.call('ZADD', log, now + hold, permit(number))
  number = number + 1
  entries = entries + 1
end

local open = now >= opens
while open and number - first < want_interactive and entries < ceiling do
  grant()
end
local interactive = number - first

redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now)
if interactive < want_interactive then
  redis.call('ZADD', waiting, now + tonumber(ARGV[12]), process)
  redis.call('PEXPIRE', waiting, math.ceil(tonumber(ARGV[12]) / 1000))
else
  redis.call('ZREM', waiting, process)
end
local held_back = redis.call('ZCARD', waiting) > 0

-- Bulk grants are `interval` apart. What a worker's death, a timer or a full log has kept back, up to a thirtieth of the
-- window, is made up for at twice that pace, or else it would be lost in this window and all that follow; after a longer
-- pause the spacing starts anew, and nothing ever ends in a burst of more than a few.
local first_bulk = number
local behind = math.max(4 * interval, window / 30)
bulk, paced = math.min(bulk, now + interval), math.min(paced, now + interval)
while open and not held_back and number - first_bulk < want_bulk and entries < ceiling and now >= bulk and now >= paced do
  grant()
  bulk = (bulk > now - behind and bulk or now) + interval
  paced = (paced > now - 2 * interval and paced or now) + interval / 2
end
local granted_bulk = number - first_bulk

if number > first then
  used = math.max(used, now)
  redis.call('PEXPIRE', log, math.ceil(hold / 1000))
  redis.call('HSET', state, 'used', used, 'bulk', math.floor(bulk), 'paced', math.floor(paced))
  -- Longer than any entry, any pause and any way back of the ceiling: whoever finds no state may then ask how long ago it
  -- was used.
  redis.call('PEXPIRE', state, math.ceil((math.max(opens - now, 0) + 2 * hold + 20 * window + 60000000) / 1000))
end

-- Not before: when enough entries are gone for one more; or when the pause is over.
local wait = math.max(opens - now, 0)
if entries >= ceiling then
  local free = redis.call('ZRANGE', log, entries - ceiling, entries - ceiling, 'WITHSCORES')
  wait = math.max(wait, tonumber(free[2]) - now)
end
local wait_bulk = math.max(wait, bulk - now, paced - now)
if held_back then
  -- The interactive caller takes the next entry within milliseconds, or its registration ends.
  wait_bulk = math.max(wait_bulk, math.min(interval, 100000))
end
return { used, entries, interactive, granted_bulk, math.ceil(wait), math.ceil(wait_bulk), ceiling }
