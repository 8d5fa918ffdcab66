-- Included by scripts that renew a key which several processes use: its time to live becomes `ms` at the least.
local function lengthen(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, ms)
  end
end
