-- Removes a job that nobody holds. Its id may stay in a line: a fetch drops ids without a payload.
-- KEYS: those of lines.lua, delayed, claims, crashes
-- ARGV: id
-- Answers `claimed`, `removed` or `absent`.
if redis.call('HEXISTS', KEYS[7], ARGV[1]) == 1 then
  return 'claimed'
end
redis.call('ZREM', KEYS[6], ARGV[1])
redis.call('HDEL', KEYS[8], ARGV[1])
local removed = redis.call('HDEL', KEYS[1], ARGV[1])
clean_if_empty()
return removed == 1 and 'removed' or 'absent'
