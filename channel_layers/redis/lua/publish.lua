-- Publish a message to the processes that hold members of a group, and append it to the normal channels among them.
--
-- KEYS  1 group (hash of normal channels, see queue_join.lua); the queues are computed from its fields
-- ARGV  1 name under which it is published   2 prefix of all keys   3 group   4 expiry (ms)
--       5 "old" to drop the oldest message of a full normal channel, else "new"   6 length of the head   7 head, payload
-- Returns the names of the normal channels that were full and missed it.
-- Atomic, so that all members see the messages of a group in one order.
-- include: now push_member

local missed, members = {}, redis.call('HGETALL', KEYS[1])
if #members > 0 then
  local member = {
    prefix = ARGV[2], key = KEYS[1], group = ARGV[3], time = now(), expiry = tonumber(ARGV[4]),
    policy = ARGV[5], payload = string.sub(ARGV[7], ARGV[6] + 1),
  }
  for i = 1, #members, 2 do
    local name = string.sub(members[i], 2)
    for _ = 1, push_member(name, members[i + 1], member) do
      missed[#missed + 1] = name
    end
  end
end
redis.call('PUBLISH', ARGV[1], ARGV[7]) -- last: a server without memory refuses what is before
return missed
