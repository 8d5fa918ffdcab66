-- Included by scripts that return a position: the id of the newest entry a stream ever had, or false without a stream.
local function last_id(stream)
  if redis.call('EXISTS', stream) == 0 then
    return false
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      return info[i + 1]
    end
  end
end
