-- Says that a worker lives, and registers its running claims anew, which heals a flush.
-- KEYS: workers, epoch, jobs, claims, inflight of this worker, reached
-- ARGV: worker, the epoch that it knows ('' at first), ms without a heartbeat after which a worker is dead,
--       then for at most 500 claims: id, number, payload
-- Answers: epoch, claims in flight here, {positions (from 1) of claims that are not ours any more}, {dead workers}; nobody
--          is dead unless heartbeats, of whomever, have come for as long without a gap: an outage is not everybody's death
local worker, dead_after = ARGV[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A full Redis refuses what takes memory only as a script's first write: a worker goes on living then.
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], now, worker)
redis.call('SET', KEYS[2], now, 'NX')
local epoch = redis.call('GET', KEYS[2])
local flushed = ARGV[2] ~= '' and epoch ~= ARGV[2]
local lost = {}
for i = 4, #ARGV, 3 do
  local id, claim = ARGV[i], worker .. ':' .. ARGV[i + 1]
  local holder = redis.call('HGET', KEYS[4], id)
  if not holder and flushed then
    redis.call('HSETNX', KEYS[3], id, ARGV[i + 2])
    redis.call('HSET', KEYS[4], id, claim)
    redis.call('ZADD', KEYS[5], ARGV[i + 1], id)
  elseif holder ~= claim then
    lost[#lost + 1] = (i - 1) / 3
  end
end
-- Who lived through a gap of half the time has the other half for a heartbeat after it. A clock that went back is a gap, too.
local reached = redis.call('HMGET', KEYS[6], 'since', 'last')
local since, gap = tonumber(reached[1] or now), now - tonumber(reached[2] or now)
if gap < 0 or gap > dead_after / 2 then
  since = now
end
redis.call('HSET', KEYS[6], 'since', since, 'last', now)
local dead = {}
if now - since >= dead_after then
  dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - dead_after, 'LIMIT', 0, 20)
end
return { epoch, redis.call('ZCARD', KEYS[5]), lost, dead }
