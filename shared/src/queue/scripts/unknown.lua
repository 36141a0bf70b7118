-- Which of these jobs the lane does not know, once it has lived long enough for every worker to have registered its claims.
-- KEYS: jobs, epoch
-- ARGV: ms that must have passed since the epoch began, then at most 500 ids
-- Answers {0} if it is too soon, else {1, ids that are not known}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.call('GET', KEYS[2])
if not epoch or now - tonumber(epoch) < tonumber(ARGV[1]) then
  return { 0 }
end
local answer = { 1 }
for i = 2, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then
    answer[#answer + 1] = ARGV[i]
  end
end
return answer
