-- Sets values whatever there was, for ever: what `write.lua` does for one step without conditions, and the change that is
-- made most. The values of several keys are set one after the other, each as if it were alone.
--
-- KEYS: the keys; one may be there twice. ARGV: a number that every version is above, and the value of each key.
--
-- Answers for each key its new version, below 0 where the key is new; or why it was refused. A single key has its answer
-- alone.
local KEYS, ARGV, call, unpack = KEYS, ARGV, redis.pcall, struct.unpack
local VERSION_MAX = 9007199254740991
local time = redis.call('TIME')
local first = math.max(time[1] * 1000000 + time[2], ARGV[1] + 1)
local function header(version) return '\255pk1' .. struct.pack('>I8I8', version, 0) end
local first_header = header(first)

local function set(key, value)
  -- A header says all that is asked of an entry: its value may be long.
  local was = call('GETRANGE', key, '0', '19')
  if was == '' then
    if first > VERSION_MAX then return 'versions-used-up' end
    -- It may be a string of no bytes too, which pykv has not written.
    local made = call('SET', key, first_header .. value, 'NX')
    if not made then return 'foreign' end
    return made.err and made or -first
  end
  if type(was) == 'table' then return was end
  if #was < 20 then return 'foreign' end
  local magic, before = unpack('>c4I8', was)
  if magic ~= '\255pk1' then return 'foreign' end
  local version, its_header = first, first_header
  if before >= first then
    version = before + 1
    its_header = header(version)
  end
  if version > VERSION_MAX then return 'versions-used-up' end
  local made = call('SET', key, its_header .. value)
  return made.err and made or version
end

local answers = {}
for number = 1, #KEYS do answers[number] = set(KEYS[number], ARGV[number + 1]) end
return #KEYS == 1 and answers[1] or answers
