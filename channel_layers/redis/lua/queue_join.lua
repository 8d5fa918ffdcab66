-- Make a normal channel a member of a group, or renew its membership.
--
-- KEYS  1 group   2 groups (set: those that the channel is a member of)
-- ARGV  1 channel   2 group   3 group_expiry (ms), 0 for none   4 capacity of the channel   5 time to live (ms)
-- Returns nothing. Atomic, so that group and set agree.
-- include: now lengthen

local expiry = tonumber(ARGV[3])
local ends = expiry > 0 and now() + expiry or 0
redis.call('HSET', KEYS[1], '#' .. ARGV[1], string.format('%.0f', ends) .. '|' .. ARGV[4])
redis.call('SADD', KEYS[2], ARGV[2])
lengthen(KEYS[1], tonumber(ARGV[5]))
lengthen(KEYS[2], tonumber(ARGV[5]))
