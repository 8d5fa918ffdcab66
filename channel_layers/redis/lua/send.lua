-- Append messages to the mailbox of a process, each if its channel holds fewer than `capacity` unread direct messages.
--
-- KEYS  1 mailbox (stream)   2 unread (hash: channel -> count)   3 early (stream, for a mailbox not yet registered)
-- ARGV  1 bound of the mailbox   2 expiry (ms)   3 writer
--       then four for each message: channel, capacity, number, payload
-- Returns 1 if all were appended, otherwise a list with 1 for each that was, 0 for each whose channel is full, and -1 for
-- each for which the mailbox had no room.
-- Atomic, so that of many senders no two take the last place.
-- include: now

local bound, expiry, writer = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local length = redis.call('XLEN', KEYS[1])
local purged = false
local TAKEN, FULL, NO_ROOM = 1, 0, -1

local function append(channel, capacity, number, payload)
  local verdict = redis.call('HINCRBY', KEYS[2], channel, 1) <= capacity and NO_ROOM or FULL
  if verdict == NO_ROOM and length < bound then
    if redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', channel, payload, writer, number) then
      length = length + 1
      return TAKEN
    end
    -- Nobody has registered this mailbox, or its lease has ended: the message waits for as long as it lives.
    if redis.call('XLEN', KEYS[3]) < bound then
      redis.call('XADD', KEYS[3], '*', channel, payload, writer, number)
      redis.call('PEXPIRE', KEYS[3], expiry)
      redis.call('PEXPIRE', KEYS[2], expiry)
      return TAKEN
    end
  end
  if redis.call('HINCRBY', KEYS[2], channel, -1) <= 0 then
    redis.call('HDEL', KEYS[2], channel)
  end
  return verdict
end

-- What has expired is not unread. A process that reads has taken such messages out long ago; this is for one that
-- does not.
local function purge(stream)
  local old = redis.call('XRANGE', stream, '-', '(' .. math.max(0, now() - expiry), 'COUNT', 1000)
  for _, entry in ipairs(old) do
    local kind = string.sub(entry[2][1], 1, 1)
    if kind ~= '!' then -- that is a command, which does not expire
      if kind ~= '@' and redis.call('HINCRBY', KEYS[2], entry[2][1], -1) <= 0 then
        redis.call('HDEL', KEYS[2], entry[2][1])
      end
      redis.call('XDEL', stream, entry[1])
    end
  end
end

local verdicts, all = {}, true
for i = 4, #ARGV, 4 do
  local capacity = tonumber(ARGV[i + 1])
  local verdict = append(ARGV[i], capacity, ARGV[i + 2], ARGV[i + 3])
  if verdict ~= TAKEN and not purged then
    purged = true
    purge(KEYS[1])
    purge(KEYS[3])
    length = redis.call('XLEN', KEYS[1])
    verdict = append(ARGV[i], capacity, ARGV[i + 2], ARGV[i + 3])
  end
  verdicts[#verdicts + 1] = verdict
  all = all and verdict == TAKEN
end
return all and 1 or verdicts
