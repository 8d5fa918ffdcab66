-- Make or renew the mailbox of a process, and count its unread messages anew.
--
-- KEYS  1 mailbox   2 early   3 unread   4 epoch
-- ARGV  1 lease (ms)   2 position in the mailbox up to which the process has read
--       then pairs of channel and unread messages that the process holds
-- Returns whether the mailbox is new (1) or was there (0), the id of its newest entry, and the epoch.
-- Atomic, so that no message is counted twice or not at all.
-- include: last_id

local fresh = redis.call('EXISTS', KEYS[1]) == 0
if fresh then
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('RENAME', KEYS[2], KEYS[1])
  else
    redis.call('XADD', KEYS[1], '*', '', '')
    redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])

redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[3], '', 1) -- keeps the hash, and so its time to live, while nothing is unread
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[3], ARGV[i], ARGV[i + 1])
end
local newest = last_id(KEYS[1])
local start = fresh and '-' or '(' .. ARGV[2]
repeat
  local entries = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', 100)
  for _, entry in ipairs(entries) do
    local kind = string.sub(entry[2][1], 1, 1)
    if kind ~= '@' and kind ~= '!' then
      redis.call('HINCRBY', KEYS[3], entry[2][1], 1)
    end
    start = '(' .. entry[1]
  end
until #entries == 0
-- Longer than the mailbox: while that lives, a sender need not look whether this does.
redis.call('PEXPIRE', KEYS[3], ARGV[1] + 10000)
local epoch = redis.call('GET', KEYS[4]) or '0'
return {fresh and 1 or 0, newest, epoch}
