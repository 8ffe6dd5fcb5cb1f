-- The requests that wrk sends, and its figures as JSON.
--
-- Arguments after `--`: what to send (get, put, put_new, put_base64), the path before the key, the path after it,
-- how many requests go out at once, a number to seed the choice of keys with, and headers.
--
-- Every contestant is sent the same keys by the same code, also those that do not look at them, so that
-- the client costs each of them the same.

local KEYS_READ = 10000
local VALUE = string.rep("v", 100)

local threads = {}
local next_request

-- "000" to "999": two of them make a key, so that choosing one of a million costs one concatenation.
local function groups(encode)
  local list = {}
  for number = 0, 999 do
    list[number] = encode(string.format("%03d", number))
  end
  return list
end

local function base64(text)
  local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  local out = {}
  for at = 1, #text, 3 do
    local a, b, c = text:byte(at, at + 2)
    local bits = a * 65536 + (b or 0) * 256 + (c or 0)
    for place = 1, 4 do
      local six = math.floor(bits / 64 ^ (4 - place)) % 64
      local padded = (place == 3 and not b) or (place == 4 and not c)
      out[#out + 1] = padded and "=" or alphabet:sub(six + 1, six + 1)
    end
  end
  return table.concat(out)
end

-- Keys of 16 bytes, chosen at random among those that were loaded.
local function get(before, after, headers, depth)
  local requests = {}
  for number = 0, KEYS_READ - 1 do
    requests[number] = string.format("GET %sk%015d%s HTTP/1.1\r\n%s\r\n", before, number, after, headers)
  end
  if depth == 1 then
    return function()
      return requests[math.random(0, KEYS_READ - 1)]
    end
  end
  -- Batches are made beforehand: sixteen choices a batch would make the client the slowest of all.
  local batches = {}
  for number = 1, 1000 do
    local batch = {}
    for place = 1, depth do
      batch[place] = requests[math.random(0, KEYS_READ - 1)]
    end
    batches[number] = table.concat(batch)
  end
  return function()
    return batches[math.random(1, #batches)]
  end
end

-- A million keys of 9 bytes and a value of 100.
local function put(before, after, headers)
  local group = groups(function(digits) return digits end)
  local head = "PUT " .. before .. "key"
  local tail = after .. " HTTP/1.1\r\nContent-Length: " .. #VALUE .. "\r\n" .. headers .. "\r\n" .. VALUE
  return function()
    return head .. group[math.random(0, 999)] .. group[math.random(0, 999)] .. tail
  end
end

-- Keys of 15 bytes that hardly ever come twice.
local function put_new(before, after, headers)
  local group = groups(function(digits) return digits end)
  local head = "PUT " .. before .. "new"
  local tail = after .. " HTTP/1.1\r\nContent-Length: " .. #VALUE .. "\r\n" .. headers .. "\r\n" .. VALUE
  return function()
    return head .. group[math.random(0, 999)] .. group[math.random(0, 999)] .. group[math.random(0, 999)]
      .. group[math.random(0, 999)] .. tail
  end
end

-- The same as JSON, key and value in base64: what etcd's gateway takes.
local function put_base64(before, after, headers)
  local group = groups(base64)
  local body_head, body_tail = '{"key":"' .. base64("key"), '","value":"' .. base64(VALUE) .. '"}'
  local head = "POST " .. before .. after .. " HTTP/1.1\r\nContent-Length: " .. (#body_head + 8 + #body_tail)
    .. "\r\n" .. headers .. "\r\n" .. body_head
  return function()
    return head .. group[math.random(0, 999)] .. group[math.random(0, 999)] .. body_tail
  end
end

function setup(thread)
  thread:set("id", #threads + 1)
  threads[#threads + 1] = thread
end

function init(args)
  local kind, before, after, depth, seed = args[1], args[2], args[3], tonumber(args[4]), tonumber(args[5])
  local headers = "Host: " .. wrk.host .. ":" .. wrk.port .. "\r\n"
  for at = 6, #args do
    headers = headers .. args[at] .. "\r\n"
  end
  math.randomseed(seed * 1000 + id)
  local kinds = { get = get, put = put, put_new = put_new, put_base64 = put_base64 }
  next_request = kinds[kind](before, after, headers, depth)
end

function request()
  return next_request()
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,'
      .. '"status_errors":%d,"socket_errors":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
