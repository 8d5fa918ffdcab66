-- Begin a flush: whoever knows a lower epoch has to empty what it holds.
--
-- KEYS  1 epoch
-- ARGV  1 time to live (ms)
-- Returns the new epoch. Atomic, so that the key never lacks a time to live.
-- include: now

-- Above every earlier one, also if the key had gone: it is a time.
local epoch = math.max(now(), tonumber(redis.call('GET', KEYS[1]) or 0) + 1)
epoch = string.format('%.0f', epoch)
redis.call('SET', KEYS[1], epoch, 'PX', ARGV[1])
return epoch
