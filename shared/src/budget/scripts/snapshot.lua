-- Looks at one endpoint's log, and changes nothing.
-- KEYS 1 log, 2 state (see grant.lua)
-- Answers {entries in use, microseconds until the endpoint opens again (0: it is open)}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local opens = tonumber(redis.call('HGET', KEYS[2], 'opens')) or 0
return { redis.call('ZCOUNT', KEYS[1], string.format('(%d', now), '+inf'), math.max(0, opens - now) }
