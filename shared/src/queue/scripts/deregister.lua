-- A clean stop: the worker leaves, unless it still holds something, which then is for the others to find.
-- KEYS: workers, inflight of this worker
-- ARGV: worker
if redis.call('ZCARD', KEYS[2]) == 0 then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
