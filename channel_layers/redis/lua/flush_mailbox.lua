-- Empty the mailbox of a process and tell it to do the same with all that it holds.
--
-- KEYS  1 mailbox   2 unread   3 control   4 early
-- ARGV  1 the new epoch   2 list to which the process adds its client id when it has done so (no blanks)
-- Returns how long the lease still lasts (ms), negative if it has ended.
-- Atomic, so that nothing sent before comes after it.

redis.call('DEL', KEYS[3], KEYS[4])
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
  return -2
end
-- Another flush may wait for the same process, which has not come to the command yet: one answers to both.
local waiting = ARGV[2]
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if oldest and oldest[2][1] == '!flush' then
  waiting = oldest[2][2] .. ' ' .. waiting
end
local left = redis.call('PTTL', KEYS[2])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], '', 1)
redis.call('PEXPIRE', KEYS[2], math.max(left, 1))
redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
redis.call('XADD', KEYS[1], '*', '!flush', waiting, ARGV[1], '0')
return redis.call('PTTL', KEYS[1])
