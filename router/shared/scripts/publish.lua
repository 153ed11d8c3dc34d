-- A router's news. KEYS: rows, leaders, followers, meta, numbers, seen; ARGV: what names of routers' shares begin with;
-- the router; 1 if it leads; an epoch, should there be none; milliseconds after which a silent router is taken off;
-- 1 if the rows are wanted; the changes; the epoch that these are of: workers had other numbers in another one. Sums
-- are kept up to date by what each share changes.
local rows, leaders, followers, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local shares, me, leads, expiry = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[5])
local sub, rep, unpack, pack, call, max = string.sub, string.rep, struct.unpack, struct.pack, redis.call, math.max
local ROW, SHARE, CHANGE, DAY = 32, 20, 36, 86400000
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local epoch = call('HGET', meta, 'epoch')
if not epoch or call('EXISTS', rows) == 0 then
  epoch = ARGV[4]
  for _, routers in ipairs({leaders, followers}) do
    for _, name in ipairs(call('ZRANGE', routers, 0, -1)) do call('DEL', shares .. name) end
  end
  call('DEL', leaders, followers, KEYS[5], KEYS[6])
  call('HSET', meta, 'epoch', epoch)
  call('SET', rows, rep('\0', ROW))
end

local function add(number, inflight, pending, tokens, ms, context, sent)
  local at = number * ROW
  local row = call('GETRANGE', rows, at, at + ROW - 1)
  if #row < ROW then row = row .. rep('\0', ROW - #row) end
  local a, b, c, d, e, clock = unpack('>IIIIII', row)
  local sums = pack('>IIIIII', max(0, a + inflight), max(0, b + pending), max(0, c + tokens), max(0, d + ms),
    max(0, e + context), (clock + sent) % 4294967296)
  call('SETRANGE', rows, at, sums .. sub(row, 25))
end

local function forget(routers, name)
  local share = call('GET', shares .. name)
  if share then
    for at = 1, #share - SHARE + 1, SHARE do
      if sub(share, at, at + SHARE - 1) ~= rep('\0', SHARE) then
        local a, b, c, d, e = unpack('>IIIII', share, at)
        add((at - 1) / SHARE, -a, -b, -c, -d, -e, 0)
      end
    end
    call('DEL', shares .. name)
  end
  call('ZREM', routers, name)
end

for _, routers in ipairs({leaders, followers}) do
  for _, name in ipairs(call('ZRANGEBYSCORE', routers, '-inf', now - expiry, 'LIMIT', 0, 16)) do
    forget(routers, name)
  end
end

local mine = leads and leaders or followers
local known = call('ZSCORE', mine, me) and call('EXISTS', shares .. me) == 1
if not known then forget(mine, me) end
call('ZADD', mine, now, me)
if not known then
  call('SET', shares .. me, rep('\0', SHARE))
end
for _, name in ipairs({rows, shares .. me, leaders, followers, meta}) do call('PEXPIRE', name, DAY) end

local changes = (ARGV[8] == '' or ARGV[8] == epoch) and ARGV[7] or ''
for at = 1, #changes, CHANGE do
  local number, told, a, b, c, d, e, sent = unpack('>HHIIIIII', changes, at)
  local before = call('GETRANGE', shares .. me, number * SHARE, number * SHARE + SHARE - 1)
  if #before < SHARE then before = before .. rep('\0', SHARE - #before) end
  local f, g, h, i, j = unpack('>IIIII', before)
  call('SETRANGE', shares .. me, number * SHARE, sub(changes, at + 4, at + 3 + SHARE))
  add(number, a - f, b - g, c - h, d - i, e - j, sent)
  if told == 1 then call('SETRANGE', rows, number * ROW + 24, sub(changes, at + 28, at + 35)) end
end

return {
  epoch, known and 1 or 0, ARGV[6] == '1' and call('GET', rows) or '',
  call('ZCARD', leaders), call('ZCARD', followers), tonumber(call('HGET', meta, 'facts') or 0),
}
