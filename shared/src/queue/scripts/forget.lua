-- Removes a job that nobody holds. Its id may stay in a line: a fetch drops ids without a payload.
-- KEYS: jobs, delayed, claims, crashes
-- ARGV: id
-- Answers `claimed`, `removed` or `absent`.
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then
  return 'claimed'
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
  return 'removed'
end
return 'absent'
