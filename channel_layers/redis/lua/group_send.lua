-- Append a message once to each queue of a group: the mailboxes of processes that hold members, and normal channels.
--
-- KEYS  1 group (hash, see control.lua). The queues are computed from its fields: this alone lists them.
-- ARGV  1 "@" and the group   2 prefix of all keys   3 bound of a mailbox   4 expiry (ms)   5 lease (ms)
--       6 "old" to drop the oldest message of a full normal channel, else "new"   7 writer   8 number   9 payload
-- Returns the names of what was full and missed it: clients with "@", normal channels with "#".
-- Atomic, so that all members see the messages of a group in one order.
-- include: now push_member

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

local members = redis.call('HGETALL', KEYS[1])
for i = 1, #members, 2 do
  local name = string.sub(members[i], 2)
  if string.byte(members[i]) == 64 then
    post(name, members[i + 1])
  else
    time = time or now()
    local lost = push_member(name, members[i + 1], {
      prefix = prefix, key = KEYS[1], group = string.sub(ARGV[1], 2), time = time, expiry = expiry,
      policy = ARGV[6], payload = ARGV[9],
    })
    for _ = 1, lost do
      missed[#missed + 1] = members[i]
    end
  end
end
return missed
