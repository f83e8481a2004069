-- Sliding windows: one sorted set per subject, a member per event, its score the time it was first counted.
-- KEYS: one per item. ARGV: window in ms, most events kept, then one event id per item.
-- Answers, per item, how many events its subject had in the window.
-- One clock for all callers: Redis's own.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window = tonumber(ARGV[1])
local most = tonumber(ARGV[2])
local counts = {}
for i, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
    if redis.call('ZADD', key, 'NX', now, ARGV[i + 2]) == 1 then
        redis.call('PEXPIRE', key, window)
    end
    local count = redis.call('ZCARD', key)
    if count > most then
        redis.call('ZREMRANGEBYRANK', key, 0, count - most - 1)
        count = most
    end
    counts[i] = count
end
return counts
