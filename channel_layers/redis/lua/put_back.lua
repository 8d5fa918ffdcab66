-- Put messages that a process popped and nobody there took back to the front of a normal channel, in their order.
--
-- KEYS  1 queue (list)
-- ARGV  1 expiry (ms)   then the elements, oldest first, as they were popped
-- Returns nothing. Atomic, so that no reader gets a later one in between.
-- include: lengthen

for i = #ARGV, 2, -1 do
  redis.call('LPUSH', KEYS[1], ARGV[i])
end
lengthen(KEYS[1], tonumber(ARGV[1]))
