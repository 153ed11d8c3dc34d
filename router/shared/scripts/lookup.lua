#!lua flags=no-writes
-- Leading keys of a chain that holders have. The value of a block is a list of entries: holder, stamp, two bytes each.
-- KEYS[1]: a name in the slot; ARGV: what names begin with; the keys, 8 bytes each; stamp and window of every holder.
-- Who has a block has those before it, so probes halve the places between where somebody has one and has none. Who is
-- found not to have one counts no further: the server may have evicted it.
local prefix, keys, valid = ARGV[1], ARGV[2], ARGV[3]
local sub, unpack, pack, floor, call = string.sub, struct.unpack, struct.pack, math.floor, redis.call
local MOST_PROBES, IGNORED = 64, 65535
local probes, nobody = 0, {}
local sets = {}

local function holders(place)
  probes = probes + 1
  local at = place * 8
  local value = call('GET', prefix .. '{' .. sub(keys, at + 3, at + 4) .. '}' .. sub(keys, at + 1, at + 8))
  if not value then return nobody end
  local set = sets[value]
  if set then return set end
  set = {}
  for entry = 1, #value, 4 do
    local holder, stamp = unpack('>HH', value, entry)
    local known = holder * 4
    if known < #valid then
      local now, window = unpack('>HH', valid, known + 1)
      if window ~= IGNORED then
        local age = (now - stamp) % 65536
        if age <= window or age >= 32768 then set[holder] = true end
      end
    end
  end
  sets[value] = set
  return set
end

local function within(set, low)
  for holder in pairs(set) do
    if not low[holder] then
      local both = {}
      for each in pairs(set) do
        if low[each] then both[each] = true end
      end
      return both
    end
  end
  return set
end

local out = {}
local function solve(low, at_low, high, at_high)
  while at_low ~= at_high do
    local parting = false
    for holder in pairs(at_low) do
      if not at_high[holder] then parting = true break end
    end
    if not parting then return end
    if high - low == 1 or probes >= MOST_PROBES then
      for holder in pairs(at_low) do
        if not at_high[holder] then out[#out + 1] = pack('>HI', holder, low + 1) end
      end
      return
    end
    local middle = floor((low + high) / 2)
    local at_middle = within(holders(middle), at_low)
    solve(middle, at_middle, high, at_high)
    high, at_high = middle, at_middle
  end
end

if #keys > 0 then solve(0, holders(0), #keys / 8, nobody) end
return table.concat(out)
