-- The outbox is done: clears it and sets the deadline, if the version is still that one. A deadline without a record goes.
-- KEYS: record, deadline index. ARGV: id, version, deadline or ''. With a fourth argument the record is deleted instead.
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or '0')
if version == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
if version == 0 or version ~= tonumber(ARGV[2]) then return 0 end
if ARGV[4] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
redis.call('HSET', KEYS[1], 'o', '')
if ARGV[3] ~= '' then redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1]) else redis.call('ZREM', KEYS[2], ARGV[1]) end
return 1
