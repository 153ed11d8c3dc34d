-- What is known of workers. KEYS: facts, versions, meta; ARGV: the version that the router has; worker, facts, ... to
-- take in. Returns the version now, and worker, facts, ... of all that changed since.
local facts, versions, meta = KEYS[1], KEYS[2], KEYS[3]
local call, MOST = redis.call, 16384
for at = 2, #ARGV, 2 do
  local version = call('HINCRBY', meta, 'facts', 1)
  call('HSET', facts, ARGV[at], ARGV[at + 1])
  call('ZADD', versions, version, ARGV[at])
end
while call('ZCARD', versions) > MOST do
  call('HDEL', facts, call('ZPOPMIN', versions)[1])
end
local version = tonumber(call('HGET', meta, 'facts') or 0)
local since = tonumber(ARGV[1])
if since > version then since = 0 end
local out = {version}
for _, worker in ipairs(call('ZRANGEBYSCORE', versions, '(' .. since, '+inf')) do
  local known = call('HGET', facts, worker)
  if known then
    out[#out + 1] = worker
    out[#out + 1] = known
  end
end
return out
