-- Takes or renews a lease. KEYS: lease. ARGV: holder, ttl in ms, '1' if the holder uses it; ttl '' ends it, 0 changes nothing. Answers 0 if another holder
-- has it. One that is not in use is stored as '?holder', and goes to whoever uses what it stands for.
local stored = redis.call('GET', KEYS[1])
local unused = '?' .. ARGV[1]
local ours = not stored or stored == ARGV[1] or stored == unused
if ARGV[2] == '' then
  if ours then redis.call('DEL', KEYS[1]) end
  return 1
end
local in_use = ARGV[3] == '1'
if not ours and not (in_use and stored:sub(1, 1) == '?') then return 0 end
if ARGV[2] == '0' then return 1 end
redis.call('SET', KEYS[1], in_use and ARGV[1] or unused, 'PX', ARGV[2])
return 1
