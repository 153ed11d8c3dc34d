-- Numbers for workers. KEYS: numbers, seen, meta; ARGV: milliseconds after which an unseen worker's number is another's;
-- how many there may be; the workers. -1: none is left. Where
-- numbers were lost, so is the epoch.
local numbers, seen, meta = KEYS[1], KEYS[2], KEYS[3]
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = call('HGET', meta, 'epoch')
if epoch and call('HGET', meta, 'numbered') == epoch and call('EXISTS', numbers) == 0 then
  call('HDEL', meta, 'epoch') -- they were lost, and blocks would be taken for other workers': the next news begin anew
end

local out = {}
for at = 3, #ARGV do
  local worker = ARGV[at]
  local number = call('HGET', numbers, worker)
  if not number then
    local oldest = call('ZRANGE', seen, 0, 0, 'WITHSCORES')
    if oldest[1] and now - oldest[2] > tonumber(ARGV[1]) then
      number = call('HGET', numbers, oldest[1])
      call('HDEL', numbers, oldest[1])
      call('ZREM', seen, oldest[1])
    end
    if not number then
      number = call('HLEN', numbers)
      if number >= tonumber(ARGV[2]) then number = -1 end
    end
    if tonumber(number) >= 0 then call('HSET', numbers, worker, number) end
  end
  if tonumber(number) >= 0 then call('ZADD', seen, now, worker) end
  out[#out + 1] = tonumber(number)
end
if epoch and call('EXISTS', numbers) == 1 then call('HSET', meta, 'numbered', epoch) end
return out
