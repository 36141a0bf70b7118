-- The endpoint gave an answer: the failures before it count no more, and the breaker closes.
--
-- KEYS 1 breaker, 2 failing (see admit.lua)
-- Answers 1 if it was open.

local was_open = redis.call('EXISTS', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2])
return was_open
