-- Append a message to the mailbox of a process, if its channel holds fewer than `capacity` unread direct messages.
--
-- KEYS  1 mailbox (stream)   2 unread (hash: channel -> count)   3 early (stream, for a mailbox not yet registered)
-- ARGV  1 channel   2 capacity   3 bound of the mailbox   4 expiry (ms)   5 writer   6 number   7 payload
-- Returns 1, or 0 if the channel or the mailbox is full.
-- Atomic, so that of many senders no two take the last place.
-- include: now

local capacity, bound, expiry = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function append()
  if redis.call('HINCRBY', KEYS[2], ARGV[1], 1) <= capacity and redis.call('XLEN', KEYS[1]) < bound then
    if redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', ARGV[1], ARGV[7], ARGV[5], ARGV[6]) then
      return true
    end
    -- Nobody has registered this mailbox, or its lease has ended: the message waits for as long as it lives.
    if redis.call('XLEN', KEYS[3]) < bound then
      redis.call('XADD', KEYS[3], '*', ARGV[1], ARGV[7], ARGV[5], ARGV[6])
      redis.call('PEXPIRE', KEYS[3], expiry)
      redis.call('PEXPIRE', KEYS[2], expiry)
      return true
    end
  end
  if redis.call('HINCRBY', KEYS[2], ARGV[1], -1) <= 0 then
    redis.call('HDEL', KEYS[2], ARGV[1])
  end
  return false
end

-- What has expired is not unread. A process that reads has taken such messages out long ago; this is for one that
-- does not.
local function purge(stream)
  local oldest_living = now() - expiry
  local old = redis.call('XRANGE', stream, '-', '(' .. oldest_living, 'COUNT', 1000)
  for _, entry in ipairs(old) do
    local kind = string.sub(entry[2][1], 1, 1)
    if kind ~= '@' and kind ~= '!' and redis.call('HINCRBY', KEYS[2], entry[2][1], -1) <= 0 then
      redis.call('HDEL', KEYS[2], entry[2][1])
    end
    redis.call('XDEL', stream, entry[1])
  end
  return #old > 0
end

if append() then
  return 1
end
local purged = purge(KEYS[1])
purged = purge(KEYS[3]) or purged
if purged and append() then
  return 1
end
return 0
