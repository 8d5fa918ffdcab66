-- Included by scripts that send to a group: append a message to a normal channel that is listed as a member of it.
-- Returns how many messages were lost since the channel is full. `member` holds prefix (of all keys), key and name of the
-- group, time, expiry (ms), policy ("old" or "new", see push.lua) and payload.
local function push_member(channel, listed, member)
  local ends, capacity = string.match(listed, '(%d+)|(%d+)')
  if tonumber(ends) > 0 and tonumber(ends) <= member.time then
    redis.call('HDEL', member.key, '#' .. channel)
    redis.call('SREM', member.prefix .. 'groups:' .. channel, member.group)
    return 0
  end
  local queue = member.prefix .. 'queue:' .. channel
  local length, lost = redis.call('LLEN', queue), 0
  while length >= tonumber(capacity) do
    local oldest = redis.call('LINDEX', queue, 0)
    if tonumber(string.match(oldest, '^%d+')) > member.time - member.expiry then
      lost = lost + 1
      if member.policy == 'new' then
        return lost
      end
    end
    redis.call('LPOP', queue)
    length = length - 1
  end
  redis.call('RPUSH', queue, member.time .. ':' .. member.payload)
  redis.call('PEXPIRE', queue, member.expiry)
  return lost
end
