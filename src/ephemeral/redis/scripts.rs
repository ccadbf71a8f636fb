//! What runs inside Redis: one script for each decision, so that nobody comes in between, and on
//! Redis' own clock, so that nodes whose clocks differ agree. Scripts travel with each call; a
//! Redis that was flushed or restarted needs no preparation.

/// Milliseconds of Redis' clock, as the local `now`.
macro_rules! script {
    ($($line:literal)*) => {
        concat!(
            "local t = redis.call('TIME')\n",
            "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n",
            $($line, "\n",)*
        )
    };
}

/// A sliding window. `KEYS`: the window. `ARGV`: most in it, its length in ms, a name for this
/// request that no other has. Answers how many are in it, and the ms until there is room.
pub(super) const RATE: &str = script!(
    "local max, length = tonumber(ARGV[1]), tonumber(ARGV[2])"
    // A clock that went back keeps what was counted, dated to the new present.
    "for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do"
    "  redis.call('ZADD', KEYS[1], now, name)"
    "end"
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - length)"
    "local count = redis.call('ZCARD', KEYS[1])"
    "if count < max then"
    "  redis.call('ZADD', KEYS[1], now, ARGV[3])"
    "  redis.call('PEXPIRE', KEYS[1], length)"
    "  return {count, 0}"
    "end"
    // There is room again when only `max - 1` are left inside.
    "local leaves = redis.call('ZRANGE', KEYS[1], count - max, count - max, 'WITHSCORES')"
    "if not leaves[2] then return {count, length} end"
    "return {count, math.max(1, leaves[2] + length - now)}"
);

/// A token bucket. `KEYS`: the bucket. `ARGV`: its capacity, tokens a minute. Answers 1 if a token
/// was taken, and the ms until there is one (-1 for never).
pub(super) const TAKE: &str = script!(
    // As in `local`: a token is 60,000 parts, so that refilling is exact in whole numbers.
    "local full, rate = tonumber(ARGV[1]) * 60000, tonumber(ARGV[2])"
    "local stored = redis.call('HMGET', KEYS[1], 'left', 'at')"
    "local left, at = tonumber(stored[1]) or full, tonumber(stored[2]) or now"
    "left = math.min(full, left + math.max(0, now - at) * rate)"
    "local taken, wait = 0, 0"
    "if left >= 60000 then"
    "  left = left - 60000"
    "  taken = 1"
    "elseif rate == 0 then"
    "  wait = -1"
    "else"
    "  wait = math.ceil((60000 - left) / rate)"
    "end"
    "redis.call('HSET', KEYS[1], 'left', string.format('%.0f', left), 'at', string.format('%.0f', now))"
    "local keep = 86400000"
    "if rate > 0 then keep = math.min(keep, math.ceil((full - left) / rate) + 1000) end"
    "redis.call('PEXPIRE', KEYS[1], keep)"
    "return {taken, wait}"
);

/// Puts a token back. `KEYS`: the bucket. `ARGV`: its capacity.
pub(super) const PUT_BACK: &str = script!(
    "local left = tonumber(redis.call('HGET', KEYS[1], 'left'))"
    // One that was forgotten meanwhile is full.
    "if not left then return now end"
    "left = math.min(tonumber(ARGV[1]) * 60000, left + 60000)"
    "redis.call('HSET', KEYS[1], 'left', string.format('%.0f', left))"
    "return now"
);

/// A sign of life. `KEYS`: the list of nodes. `ARGV`: this node, how long a sign counts in ms.
/// Answers how many nodes gave one. It writes, so a Redis that only reads is noticed.
pub(super) const ALIVE: &str = script!(
    "redis.call('ZADD', KEYS[1], now, ARGV[1])"
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])"
    "redis.call('PEXPIRE', KEYS[1], ARGV[2])"
    "return redis.call('ZCARD', KEYS[1])"
);
