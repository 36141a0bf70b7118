-- Marks a claim, if it still holds its job: the job only waits for its turn at something.
-- KEYS: claims, waiting
-- ARGV: id, claim
-- Answers 1 if it is marked now.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('SADD', KEYS[2], ARGV[2])
  return 1
end
return 0
