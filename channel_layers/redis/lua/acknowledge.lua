-- Tell who flushes the layer that this process holds nothing any more.
--
-- KEYS  1 list on which the other waits
-- ARGV  1 client   2 time to live (ms)
-- Returns nothing. Atomic, so that the list has a time to live from its first entry on.

redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
