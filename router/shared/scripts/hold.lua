-- A holder has blocks. KEYS[1]: a name in the slot; ARGV: what names begin with; the holder, two bytes; its stamp, two
-- bytes; for how many seconds that is remembered; the keys, 8 bytes each.
local prefix, holder, stamp, ttl, keys = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local sub, find, unpack, call = string.sub, string.find, struct.unpack, redis.call
local entry, now = holder .. stamp, unpack('>H', stamp)
for at = 0, #keys - 1, 8 do
  local name = prefix .. '{' .. sub(keys, at + 3, at + 4) .. '}' .. sub(keys, at + 1, at + 8)
  local value = call('GET', name) or ''
  local place = find(value, holder, 1, true)
  while place and place % 4 ~= 1 do place = find(value, holder, place + 1, true) end
  if not place then
    value = value .. entry
  elseif (now - unpack('>H', value, place + 2)) % 65536 < 32768 then
    value = sub(value, 1, place + 1) .. stamp .. sub(value, place + 4)
  end
  call('SET', name, value, 'EX', ttl)
end
