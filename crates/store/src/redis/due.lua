-- Returns ids whose deadline has passed and moves each deadline by a lease, so that one caller gets an id.
-- KEYS: deadline index. ARGV: now, lease in ms, limit.
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], ARGV[1] + ARGV[2], id) end
return ids
