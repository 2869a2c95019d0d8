-- feedback.lua - what one mail that came back changes (feedback.h): a suppression, a soft bounce counted, or a block.
--
-- One call is one recipient. Idempotent: what the same message said before counts once, so a mail that is taken twice
-- and a call whose answer was lost change nothing more. Time is the caller's.
--   KEYS  hash of the scope, log, seq, scopes (suppress.lua); then
--         soft: sorted set, message -> second, of one class and address
--         unknown: sorted set, address -> second, of one domain: who became unknown in the last breaker period
--         trip: while that domain's bounces are held, the second of the last one
--         held: hash, address -> what would stand in the hash of the scope
--         block: sorted set, message -> second, of one class: refusals in the last hour that are our own fault
--   ARGV  suppress | count | block, scope, entries kept in the stream, address, its value, message, now in s, now in us;
--         soft bounces that suppress (0: none does), within s, those less than s apart count once;
--         unknown ones that trip the breaker (0: none does), within s; most that are held; refusals kept
-- The time of a call may lie in the past: what an event log tells again. So the breaker counts by times that it keeps, and lets
-- keys run out by the clock only where they can be of no use any more.
-- Reply: {what was done, how many there are}: suppressed, known, counted, near, again, blocked, held, tripped, full.
local hash, log, seq, scopes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local soft, unknown, trip, held, block = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local what, scope, kept, address, value, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local now, now_us = tonumber(ARGV[7]), ARGV[8]
local limit, within, apart = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local need, period, held_most, block_most = tonumber(ARGV[12]), ARGV[13], tonumber(ARGV[14]), tonumber(ARGV[15])
local BLOCK_PERIOD = 3600
local call = redis.call

local function tell(op, key, ends)
    local entry = { 'op', op, 'scope', scope, 'key', key }
    if ends then
        entry[7], entry[8] = 'until', ends
    end
    call('XADD', log, 'MAXLEN', '~', kept, string.format('%.0f-0', call('INCR', seq)), unpack(entry))
end

-- When an entry ends; nil: it does not. A quote within a text is escaped, so the key is ours.
local function ends_of(there)
    return string.match(there, '"until":(%d+)')
end

local function gives_way(there)
    local old, new = ends_of(there), ends_of(value)
    return old and (not new or tonumber(new) > tonumber(old))
end

-- The first reason stays; when it was last heard stands behind it. A quote within a text is escaped, so the end is ours.
-- What is told again may be older than what is there.
local function heard_again(there)
    local first_us = tonumber(string.match(there, '"time":(%d+)') or 0)
    local last_us = tonumber(string.match(there, ',"last":(%d+)}$') or 0)
    if tonumber(now_us) <= math.max(first_us, last_us) then
        return -- or the same call again
    end
    local first = string.gsub(there, ',"last":%d+}$', '}')
    local again = string.gsub(first, '}$', ',"last":' .. now_us .. '}')
    call('HSET', hash, address, again)
end

local function suppress()
    local there = call('HGET', hash, address)
    if there and not gives_way(there) then
        heard_again(there)
        return false
    end
    call('HSET', hash, address, value)
    call('SADD', scopes, scope)
    tell('add', address, ends_of(value))
    return true
end

local function forget_before(set, seconds)
    call('ZREMRANGEBYSCORE', set, '-inf', string.format('(%.0f', now - seconds))
end

-- Who became unknown within the period and was suppressed for it is let go again, and waits for a person. An entry that
-- ends has another cause, and stays.
local function let_go()
    for _, member in ipairs(call('ZRANGE', unknown, 0, -1)) do
        local there = call('HGET', hash, member)
        if there and not ends_of(there) and call('HLEN', held) < held_most then
            call('HDEL', hash, member)
            call('HSET', held, member, there)
            tell('remove', member)
        end
    end
    if call('EXISTS', hash) == 0 then
        call('SREM', scopes, scope)
    end
end

local function is_tripped()
    local at = call('GET', trip)
    return at and math.abs(now - tonumber(at)) <= tonumber(period)
end

local function hold()
    local tripped = not is_tripped()
    call('SET', trip, string.format('%.0f', now), 'EX', period)
    if tripped then
        let_go()
    end
    if call('HLEN', held) >= held_most then
        return 'full'
    end
    call('HSET', held, address, value)
    return tripped and 'tripped' or 'held'
end

-- What is no domain's fault, such as a complaint, stands whatever becomes of the domain.
local function alone()
    call('HDEL', held, address)
    call('ZREM', unknown, address)
    return { suppress() and 'suppressed' or 'known', 0 }
end

local function bounced()
    if need == 0 then
        return alone()
    end
    if call('HEXISTS', held, address) == 1 then
        return { 'held', call('ZCARD', unknown) }
    end
    local there = call('HGET', hash, address)
    if there and not gives_way(there) then
        return { suppress() and 'suppressed' or 'known', 0 }
    end
    forget_before(unknown, tonumber(period))
    call('ZADD', unknown, now, address)
    call('EXPIRE', unknown, period)
    local count = call('ZCARD', unknown)
    if count >= need or is_tripped() then
        return { hold(), count }
    end
    suppress()
    return { 'suppressed', count }
end

local function counted()
    forget_before(soft, within)
    local newest = call('ZREVRANGE', soft, 0, 0, 'WITHSCORES')[2]
    local count = call('ZCARD', soft)
    if call('ZSCORE', soft, message) then
        return { 'again', count }
    end
    if newest and math.abs(now - tonumber(newest)) < apart then
        return { 'near', count }
    end
    call('ZADD', soft, now, message)
    call('EXPIRE', soft, string.format('%.0f', within))
    if limit == 0 or count + 1 < limit then
        if limit > 0 or count < block_most then
            return { 'counted', count + 1 }
        end
        call('ZREMRANGEBYRANK', soft, 0, 0)
        return { 'counted', count }
    end
    call('DEL', soft)
    return { suppress() and 'suppressed' or 'known', count + 1 }
end

local function blocked()
    forget_before(block, BLOCK_PERIOD)
    local new = call('ZADD', block, 'NX', now, message)
    call('EXPIRE', block, BLOCK_PERIOD)
    local count = call('ZCARD', block)
    if count > block_most then
        call('ZREMRANGEBYRANK', block, 0, 0)
    end
    return { new == 1 and 'blocked' or 'again', count }
end

local DO = { suppress = bounced, count = counted, block = blocked }
return DO[what]()
