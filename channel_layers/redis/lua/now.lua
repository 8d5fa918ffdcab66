-- Included by scripts that need the time: milliseconds since 1970 by the server's clock, the only one that counts.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
