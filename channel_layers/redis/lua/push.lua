-- Append a message to a normal channel, if it holds fewer than `capacity` unread ones.
--
-- KEYS  1 queue (list of "<ms since 1970>:<payload>", oldest first)
-- ARGV  1 capacity   2 expiry (ms)   3 "old" to drop the oldest message of a full channel, else "new"   4 payload
-- Returns -1 if the channel is full, otherwise how many unread messages were dropped to make room.
-- Atomic, so that of many senders no two take the last place.
-- include: now

local time, expiry = now(), tonumber(ARGV[2])
local length, dropped = redis.call('LLEN', KEYS[1]), 0
while length >= tonumber(ARGV[1]) do
  local oldest = redis.call('LINDEX', KEYS[1], 0)
  if tonumber(string.match(oldest, '^%d+')) > time - expiry then
    if ARGV[3] == 'new' then
      return -1
    end
    dropped = dropped + 1
  end
  redis.call('LPOP', KEYS[1])
  length = length - 1
end
redis.call('RPUSH', KEYS[1], time .. ':' .. ARGV[4])
redis.call('PEXPIRE', KEYS[1], expiry)
return dropped
