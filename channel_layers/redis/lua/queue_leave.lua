-- End the membership of a normal channel.
--
-- KEYS  1 group   2 groups (set: those that the channel is a member of)
-- ARGV  1 channel   2 group
-- Returns nothing. Atomic, so that group and set agree.

redis.call('HDEL', KEYS[1], '#' .. ARGV[1])
redis.call('SREM', KEYS[2], ARGV[2])
