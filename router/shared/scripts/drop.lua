-- A holder has blocks no more. KEYS[1]: a name in the slot; ARGV: what names begin with; the holder, two bytes; the
-- keys, 8 bytes each.
local prefix, holder, keys = ARGV[1], ARGV[2], ARGV[3]
local sub, find, call = string.sub, string.find, redis.call
for at = 0, #keys - 1, 8 do
  local name = prefix .. '{' .. sub(keys, at + 3, at + 4) .. '}' .. sub(keys, at + 1, at + 8)
  local value = call('GET', name)
  if value then
    local place = find(value, holder, 1, true)
    while place and place % 4 ~= 1 do place = find(value, holder, place + 1, true) end
    if place and #value == 4 then
      call('DEL', name)
    elseif place then
      call('SET', name, sub(value, 1, place - 1) .. sub(value, place + 4), 'KEEPTTL')
    end
  end
end
