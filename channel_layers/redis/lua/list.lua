-- List a process in a group again, after the server may have forgotten that, and keep the group.
--
-- KEYS  1 group (hash, see control.lua)
-- ARGV  1 client   2 time to live (ms)
-- Returns nothing. Atomic, so that the key never lacks a time to live.
-- include: now lengthen

redis.call('HSETNX', KEYS[1], '@' .. ARGV[1], '0-0|' .. now())
lengthen(KEYS[1], tonumber(ARGV[2]))
