-- Keep the server from answering anybody, for as long as is said.
--
-- KEYS  none
-- ARGV  1 how long (microseconds)  2 anything: it makes the command as long as a test wants it
-- Returns 1. Atomic, as all scripts are: that is what keeps the others waiting.

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local enough = now() + ARGV[1]
while now() < enough do end
return 1
