-- Leases on workers. KEYS[1]: leases; ARGV: the router; milliseconds that a lease lasts; how many of what follows it
-- wants or has; these; those that it gives back. Returns all leases: worker, router, ...
local leases, me, count = KEYS[1], ARGV[1], tonumber(ARGV[3])
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holders = {}
local all = call('HGETALL', leases)
for at = 1, #all, 2 do
  local ends, holder = string.match(all[at + 1], '^(%d+) (.*)$')
  if tonumber(ends) > now then
    holders[all[at]] = holder
  else
    call('HDEL', leases, all[at])
  end
end
for at = 4, #ARGV do
  local worker = ARGV[at]
  local holder = holders[worker]
  if at - 4 < count then
    if not holder or holder == me then
      call('HSET', leases, worker, string.format('%d %s', now + ARGV[2], me))
      holders[worker] = me
    end
  elseif holder == me then
    call('HDEL', leases, worker)
    holders[worker] = nil
  end
end
local out = {}
for worker, holder in pairs(holders) do
  out[#out + 1] = worker
  out[#out + 1] = holder
end
return out
