-- Append a message once to each queue of a group: the mailboxes of processes that hold members, and normal channels.
--
-- KEYS  1 group (hash, see control.lua). The queues are computed from its fields: this alone lists them.
-- ARGV  1 "@" and the group   2 prefix of all keys   3 bound of a mailbox   4 expiry (ms)   5 lease (ms)
--       6 "old" to drop the oldest message of a full normal channel, else "new"   7 writer   8 number   9 payload
-- Returns the names of what was full and missed it: clients with "@", normal channels with "#".
-- Atomic, so that all members see the messages of a group in one order.
-- include: now

local prefix, bound, expiry = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local missed = {}
local time

local function post(client, listed)
  local mailbox = prefix .. 'mailbox:' .. client
  if redis.call('XLEN', mailbox) >= bound then
    missed[#missed + 1] = '@' .. client
  elseif not redis.call('XADD', mailbox, 'NOMKSTREAM', '*', ARGV[1], ARGV[9], ARGV[7], ARGV[8]) then
    time = time or now()
    if time - tonumber(string.match(listed, '[^|]*$')) >= tonumber(ARGV[5]) then
      redis.call('HDEL', KEYS[1], '@' .. client) -- its process is dead
      return
    end
    local early = prefix .. 'early:' .. client
    if redis.call('XLEN', early) >= bound then
      missed[#missed + 1] = '@' .. client
    else
      redis.call('XADD', early, '*', ARGV[1], ARGV[9], ARGV[7], ARGV[8])
      redis.call('PEXPIRE', early, expiry)
    end
  end
end

local function push(channel, listed)
  time = time or now()
  local ends, capacity = string.match(listed, '(%d+)|(%d+)')
  if tonumber(ends) > 0 and tonumber(ends) <= time then
    redis.call('HDEL', KEYS[1], '#' .. channel)
    redis.call('SREM', prefix .. 'groups:' .. channel, string.sub(ARGV[1], 2))
    return
  end
  local queue = prefix .. 'queue:' .. channel
  local length = redis.call('LLEN', queue)
  while length >= tonumber(capacity) do
    local oldest = redis.call('LINDEX', queue, 0)
    if tonumber(string.match(oldest, '^%d+')) > time - expiry then
      if ARGV[6] == 'new' then
        missed[#missed + 1] = '#' .. channel
        return
      end
      missed[#missed + 1] = '#' .. channel
    end
    redis.call('LPOP', queue)
    length = length - 1
  end
  redis.call('RPUSH', queue, time .. ':' .. ARGV[9])
  redis.call('PEXPIRE', queue, expiry)
end

local members = redis.call('HGETALL', KEYS[1])
for i = 1, #members, 2 do
  local name = string.sub(members[i], 2)
  if string.byte(members[i]) == 64 then
    post(name, members[i + 1])
  else
    push(name, members[i + 1])
  end
end
return missed
