-- Wake a process that waits for messages of normal channels, so that it looks at its list of them again.
--
-- KEYS  1 wake (list)
-- ARGV  1 time to live (ms)
-- Returns nothing. Atomic, so that the key never lacks a time to live; one entry is enough.

if redis.call('LLEN', KEYS[1]) == 0 then
  redis.call('RPUSH', KEYS[1], '1')
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
