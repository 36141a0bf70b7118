-- A clean stop: the worker leaves, unless it still holds something, which then is for the others to find.
-- KEYS: workers, inflight of this worker, reached
-- ARGV: worker
if redis.call('ZCARD', KEYS[2]) == 0 then
  local left = redis.call('ZREM', KEYS[1], ARGV[1])
  if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('DEL', KEYS[3])
  end
  return left
end
return 0
