-- Says that a worker lives, and registers its running claims anew, which heals a flush.
-- KEYS: workers, epoch, jobs, claims, inflight of this worker
-- ARGV: worker, the epoch that it knows ('' at first), ms without a heartbeat after which a worker is dead,
--       then for at most 500 claims: id, number, payload
-- Answers: epoch, claims in flight here, {positions (from 1) of claims that are not ours any more}, {dead workers}
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
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - dead_after, 'LIMIT', 0, 20)
return { epoch, redis.call('ZCARD', KEYS[5]), lost, dead }
