-- Applies the steps of a batch, all or none of them. A single write is a batch of one step.
--
-- KEYS: the keys, each once. ARGV: a number that every version is above; the longest value; how many bytes of values
-- may be read; the number of steps; then nine arguments a step:
--   1 the number of its key    2 what it does    3 what the key must be: add, update or either
--   4 its precondition         5 the versions that the precondition names, each after a comma
--   6 its deadline: keep, never, in or at        7 the time of that, in ms
--   8 its value, or what a number is changed by  9 the number that a new key gets, or nothing
--
-- Answers {0, ...} with the outcome of each step, or {the number of the step at fault, why, a version}.
local VERSION_MAX = 9007199254740991
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)
local floor, value_max, read_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function load(key)
  local kept = redis.call('GET', key)
  if not kept then return nil end
  if #kept < 20 or string.sub(kept, 1, 4) ~= '\255pk1' then return false end
  return {version = struct.unpack('>I8', kept, 5), deadline = struct.unpack('>I8', kept, 13), kept = kept}
end

-- Numbers of 64 bits are more than Lua's are exact for: a number is two parts of the same sign, high * 10^10 + low.
local LOW = 10000000000
local function number(text)
  local sign, digits = string.match(text, '^(%-?)0*(%d+)$')
  if not digits or #digits > 19 then return nil end
  local low = tonumber(string.sub(digits, -10))
  local high = tonumber(string.sub(digits, 1, -11)) or 0
  if sign == '-' then high, low = -high, -low end
  return high, low
end
local function fits(high, low)
  if high > 922337203 or high < -922337203 then return false end
  if high == 922337203 then return low <= 6854775807 end
  if high == -922337203 then return low >= -6854775808 end
  return true
end
local function add(high, low, by_high, by_low)
  high, low = high + by_high, low + by_low
  if low >= LOW then high, low = high + 1, low - LOW end
  if low <= -LOW then high, low = high - 1, low + LOW end
  if high > 0 and low < 0 then high, low = high - 1, low + LOW end
  if high < 0 and low > 0 then high, low = high + 1, low - LOW end
  if not fits(high, low) then return nil end
  local sign = (high < 0 or low < 0) and '-' or ''
  high, low = math.abs(high), math.abs(low)
  if high == 0 then return sign .. string.format('%.0f', low) end
  return sign .. string.format('%.0f%010.0f', high, low)
end

local function holds(condition, versions, entry)
  if condition == 'none' then return true end
  if condition == 'absent' then return entry == nil end
  if condition == 'present' then return entry ~= nil end
  local named = entry ~= nil and string.find(versions, ',' .. string.format('%.0f', entry.version) .. ',', 1, true) ~= nil
  if condition == 'one-of' then return named end
  if condition == 'none-of' then return not named end
  return entry ~= nil and not named
end

-- What each key is before the batch, and then what it becomes.
local entries, changed = {}, {}
local steps = tonumber(ARGV[4])
for number_of_key = 1, #KEYS do entries[number_of_key] = {load(KEYS[number_of_key])} end
local before = {}
for number_of_key = 1, #KEYS do before[number_of_key] = entries[number_of_key][1] end

-- Pass 1: everything that can be refused is refused before anything is changed.
local plans = {}
for step = 1, steps do
  local at = 4 + (step - 1) * 9
  local key, op, mode, condition = tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local when, ms, value, initial = ARGV[at + 6], tonumber(ARGV[at + 7]), ARGV[at + 8], ARGV[at + 9]
  local entry = before[key]
  if entry == false then return {step, 'foreign', 0} end
  local version = entry and entry.version or 0
  if op ~= 'get' then
    local deadline = 0
    if when == 'keep' then deadline = entry and entry.deadline or 0
    elseif when == 'in' then deadline = now_ms + ms
    elseif when == 'at' then deadline = ms end
    if (when == 'in' or when == 'at') and deadline <= now_ms then return {step, 'past', 0} end
    if mode == 'update' and entry == nil then return {step, 'missing', 0} end
    if mode == 'add' and entry ~= nil then return {step, 'exists', version} end
    if not holds(condition, ARGV[at + 5], entry) then return {step, 'precondition', version} end
    local made
    if op == 'set' then
      made = value
    elseif op == 'deadline' then
      if entry == nil then return {step, 'missing', 0} end
      made = string.sub(entry.kept, 21)
    elseif op == 'increment' then
      if entry == nil then
        if initial == '' then return {step, 'missing', 0} end
        made = initial
      else
        local high, low = number(string.sub(entry.kept, 21))
        if high == nil or not fits(high, low) then return {step, 'not-a-number', 0} end
        made = add(high, low, number(value))
        if made == nil then return {step, 'overflow', 0} end
      end
    elseif op == 'append' then
      if entry == nil then return {step, 'missing', 0} end
      made = string.sub(entry.kept, 21) .. value
      if #made > value_max then return {step, 'too-large', 0} end
    end
    local next_version = math.max(now_us, floor + 1, version + 1)
    if made ~= nil and next_version > VERSION_MAX then return {step, 'versions-used-up', 0} end
    plans[step] = {key = key, made = made, deadline = deadline, version = next_version, is_new = entry == nil}
  end
end

-- Pass 2: the steps in their order.
local outcomes = {0}
local read = 0
for step = 1, steps do
  local at = 4 + (step - 1) * 9
  local plan, key = plans[step], tonumber(ARGV[at + 1])
  if plan == nil then
    local entry = entries[key][1]
    if entry == nil then
      outcomes[step + 1] = {0}
    elseif read + #entry.kept > read_max and read > 0 or #entry.kept - 20 > read_max then
      outcomes[step + 1] = {2, entry.version, entry.deadline}
    else
      read = read + #entry.kept
      outcomes[step + 1] = {1, entry.kept}
    end
  elseif plan.made ~= nil then
    local kept = '\255pk1' .. struct.pack('>I8I8', plan.version, plan.deadline) .. plan.made
    if plan.deadline > 0 then
      -- A key of the engine is there in the millisecond of its deadline still, and one of pykv is not.
      redis.call('SET', KEYS[key], kept, 'PXAT', string.format('%.0f', plan.deadline - 1))
    else
      redis.call('SET', KEYS[key], kept)
    end
    entries[key] = {{version = plan.version, deadline = plan.deadline, kept = kept}}
    outcomes[step + 1] = {plan.is_new and 1 or 0, plan.version, plan.deadline, #plan.made,
      ARGV[at + 2] == 'increment' and plan.made or ''}
  else
    if not plan.is_new then redis.call('DEL', KEYS[key]) end
    entries[key] = {}
    outcomes[step + 1] = {plan.is_new and 0 or 1}
  end
end
return outcomes
