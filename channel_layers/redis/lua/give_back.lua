-- Take out of the mailbox what has been read, and free the places of direct messages that nobody waits for any more.
--
-- KEYS  1 mailbox   2 control   3 unread
-- ARGV  1 first id of the mailbox to keep   2 first id of the control entries to keep
--       then pairs of channel and the number to subtract from its unread messages (negative: to add)
-- Returns nothing. Atomic, so that no sender sees the one without the other.

if redis.call('EXISTS', KEYS[1]) == 0 then
  -- The lease has ended. Who registers reads all changes again, since there may have been a flush that it has not heard
  -- of, and counts anew: a counter made here would have no time to live.
  return
end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
if ARGV[2] ~= '' then
  redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2])
end
for i = 3, #ARGV, 2 do
  local left = redis.call('HINCRBY', KEYS[3], ARGV[i], -ARGV[i + 1])
  if left <= 0 then
    redis.call('HDEL', KEYS[3], ARGV[i])
  end
end
