-- Deletes a record and its deadline if the version is the expected one. A deadline without a record is deleted, too.
-- KEYS: record, deadline index. ARGV: id, expected version. Answers 1 if the record was deleted, else 0.
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or '0')
if version == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
if version == 0 or version ~= tonumber(ARGV[2]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
