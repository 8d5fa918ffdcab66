-- Say over which servers this process spreads its names, and hear who says otherwise.
--
-- KEYS  1 servers (string: their names, sorted, one on a line)
-- ARGV  1 the same of this process   2 time to live (ms)
-- Returns what others say, if it is something else, otherwise nothing.
-- Atomic, so that of two processes that start at the same moment one hears the other.

local others = redis.call('GET', KEYS[1])
if others and others ~= ARGV[1] then
  return others
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
