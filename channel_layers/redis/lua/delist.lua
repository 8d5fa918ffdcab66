-- Take a process off a group's list, since it has no members there.
--
-- KEYS  1 group (hash, see control.lua)
-- ARGV  1 client   2 id of the latest control entry that the process has applied
-- Returns nothing. Atomic: a join that the process has not come to yet keeps it on the list.

local listed = redis.call('HGET', KEYS[1], '@' .. ARGV[1])
if listed then
  local ms, seq = string.match(listed, '^(%d+)-(%d+)')
  local known_ms, known_seq = string.match(ARGV[2], '^(%d+)-(%d+)')
  ms, seq, known_ms, known_seq = tonumber(ms), tonumber(seq), tonumber(known_ms), tonumber(known_seq)
  if ms < known_ms or (ms == known_ms and seq <= known_seq) then
    redis.call('HDEL', KEYS[1], '@' .. ARGV[1])
  end
end
