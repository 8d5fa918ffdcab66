-- Begin or end a membership of a process's channel, or discard the channel. The process applies it when it comes to
-- this position in its mailbox, so that a message is on the right side of it.
--
-- KEYS  1 control (stream of that process)   2 mailbox of that process
--       3 group (hash: "@client" -> "<id of its latest join here>|<ms then>"); the control key again for "discard"
--       4 early (stream that becomes the mailbox, while there is none)
-- ARGV  1 "join", "leave" or "discard"   2 client   3 group, or ""   4 channel   5 time to live (ms)
--       6 how many entries the process may leave unread
-- Returns the id of the entry, "" if there is nothing to end, false if too many entries are unread.
-- Atomic, so that no message comes between the position and the change.
-- include: last_id now lengthen

local field = '@' .. ARGV[2]
if ARGV[1] == 'leave' and redis.call('HEXISTS', KEYS[3], field) == 0 then
  return ''
end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[6]) then
  return false
end
local ttl = tonumber(ARGV[5])
local position = last_id(KEYS[2]) or last_id(KEYS[4]) or '0-0'
local id = redis.call('XADD', KEYS[1], '*', ARGV[1], ARGV[3], ARGV[4], position)
lengthen(KEYS[1], ttl)
if ARGV[1] == 'join' then
  redis.call('HSET', KEYS[3], field, id .. '|' .. now())
  lengthen(KEYS[3], ttl)
end
return id
