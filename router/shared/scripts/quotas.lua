-- What routers have spent of tenants' quotas. KEYS: totals, routers; ARGV: what names of routers' shares begin with; the
-- router; milliseconds after which a silent router is taken off; then, where something changed, a tenant and the
-- router's share: requests and tokens that it ever spent, and requests in flight. Returns whether the router was known
-- (if not, nothing is taken in: it is to count anew from here), how many there are, and tenant, totals, ...
local totals, routers = KEYS[1], KEYS[2]
local shares, me, expiry = ARGV[1], ARGV[2], tonumber(ARGV[3])
local unpack, pack, call = struct.unpack, struct.pack, redis.call
local SHARE, DAY = '>ddd', 86400000
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function add(tenant, requests, tokens, inflight)
  local before = call('HGET', totals, tenant)
  local r, t, i = 0, 0, 0
  if before then r, t, i = unpack(SHARE, before) end
  call('HSET', totals, tenant, pack(SHARE, r + requests, t + tokens, math.max(0, i + inflight)))
end

local function forget(name)
  local share = call('HGETALL', shares .. name)
  for at = 1, #share, 2 do
    local _, _, inflight = unpack(SHARE, share[at + 1])
    if inflight ~= 0 then add(share[at], 0, 0, -inflight) end
  end
  call('DEL', shares .. name)
  call('ZREM', routers, name)
end

for _, name in ipairs(call('ZRANGEBYSCORE', routers, '-inf', now - expiry, 'LIMIT', 0, 16)) do forget(name) end
local seen = call('ZSCORE', routers, me)
local known = seen and now - seen < expiry and call('EXISTS', totals) == 1 and call('EXISTS', shares .. me) == 1
if not known then
  forget(me)
  for _, name in ipairs({totals, shares .. me}) do call('HSET', name, '', pack(SHARE, 0, 0, 0)) end -- of nobody: it is there
end
call('ZADD', routers, now, me)

if known then
  for at = 4, #ARGV, 2 do
    local tenant, share = ARGV[at], ARGV[at + 1]
    local before = call('HGET', shares .. me, tenant)
    local r, t, i = 0, 0, 0
    if before then r, t, i = unpack(SHARE, before) end
    local requests, tokens, inflight = unpack(SHARE, share)
    add(tenant, requests - r, tokens - t, inflight - i)
    call('HSET', shares .. me, tenant, share)
  end
end
for _, name in ipairs({totals, routers, shares .. me}) do call('PEXPIRE', name, DAY) end

local out = {known and 1 or 0, call('ZCARD', routers)}
local all = call('HGETALL', totals)
for at = 1, #all do out[#out + 1] = all[at] end
return out
