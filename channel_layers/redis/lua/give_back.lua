-- Take out of the mailbox what has been read, and free the places of direct messages that nobody waits for any more.
--
-- KEYS  1 mailbox   2 control   3 unread   4 epoch
-- ARGV  1 first id of the mailbox to keep   2 first id of the control entries to keep, or "" for all
--       3 the epoch that the process knows
--       then pairs of channel and the number to subtract from its unread messages (negative: to add)
-- Returns nothing. Atomic, so that no sender sees the one without the other.

redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
-- After a flush that the process has not heard of, it reads again what was changed since.
if ARGV[2] ~= '' and tonumber(redis.call('GET', KEYS[4]) or '0') <= tonumber(ARGV[3]) then
  redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2])
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  return -- the lease has ended: who registers counts anew, and a counter made here would have no time to live
end
for i = 4, #ARGV, 2 do
  local left = redis.call('HINCRBY', KEYS[3], ARGV[i], -ARGV[i + 1])
  if left <= 0 then
    redis.call('HDEL', KEYS[3], ARGV[i])
  end
end
