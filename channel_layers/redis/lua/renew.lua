-- Renew the lease of a process.
--
-- KEYS  1 mailbox   2 unread   3 control   4 epoch
-- ARGV  1 lease (ms)   2 time to live of control entries (ms)   3 time to live of the epoch (ms)
-- Returns the epoch, or false if the lease had ended.
-- Atomic, so that mailbox and counters end together.
-- include: lengthen

if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1] + 10000)
lengthen(KEYS[3], tonumber(ARGV[2]))
local epoch = redis.call('GET', KEYS[4])
if epoch then
  lengthen(KEYS[4], tonumber(ARGV[3]))
end
return epoch or '0'
