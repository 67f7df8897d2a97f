-- Stores a record, its deadline and its outbox if the version is the expected one.
-- KEYS: record, deadline index. ARGV: id, expected version, body, outbox, deadline or '', ttl in ms or ''.
-- Answers {1, version}, or {0} / {0, version, body, outbox} with the record as it is.
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or '0')
if version ~= tonumber(ARGV[2]) then
  if version == 0 then return {0} end
  local now = redis.call('HMGET', KEYS[1], 'b', 'o')
  return {0, version, now[1] or '', now[2] or ''}
end
redis.call('HSET', KEYS[1], 'v', version + 1, 'b', ARGV[3], 'o', ARGV[4])
if ARGV[6] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[6]) else redis.call('PERSIST', KEYS[1]) end
if ARGV[5] ~= '' then redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1]) else redis.call('ZREM', KEYS[2], ARGV[1]) end
return {1, version + 1}
