-- limit.lua - messages that one node may send under a limit of all nodes of one Redis (include/hikyaku/limits.h).
--
-- The generic cell rate algorithm on Redis' own clock, in microseconds: `tat` is when the next message would be due if all
-- came evenly. Who asks is granted a block: message j of it may go x + j * interval from now, or at once where that has
-- passed, and no later than `late` behind that. So that lateness lets nothing more through, the burst is shorter by it; and
-- where there is no burst to take it from, a block that another node's follows keeps that much distance.
-- Blocks reach no further than a second ahead. Where several nodes want more than that holds they get shares of it that
-- follow what each wants; where it holds less than one for each it goes to who was served longest ago.
--
-- A relay's account has no rate of its own: what one node found out by its refusals (master/pace.c) is kept here, with a
-- version, and whoever changes it has to know the latest.
--   KEYS  hikyaku:limit:NAME
--   ARGV  epoch; interval in us, 0: that of the rate kept here, no limit as long as there is none; how far the burst runs
--         ahead of it; `late`; how many are wanted; how many a second this node's were taken; and where it changes the rate
--         kept here: the version that it knows, rate, step, quiet seconds, 1 if it was cut just now
-- Reply: granted; x; interval; 1 if they keep the distance of the interval; `late` for it; us until it is worth asking again; nodes that
--        ask; taken a second by the others; version, rate, step, quiet, us since the last cut
local SECOND, SILENT, TURN, ALONE, DAY_MS = 1000000, 2500000, 20000, 100000, 86400000
local call, floor, ceil, max, min, match = redis.call, math.floor, math.ceil, math.max, math.min, string.match
local key, me = KEYS[1], ARGV[1]
local interval, ahead, late = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local want, taken = tonumber(ARGV[5]), ARGV[6]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

local function text(number)
    return string.format('%.17g', number)
end

local kept = {tat = '0', holder = '', late = '0', version = '0', rate = '0', step = '0', quiet = '0', cut = '0'}
local nodes, all = {}, call('HGETALL', key)
for at = 1, #all, 2 do
    local epoch = match(all[at], '^node (.*)$')
    if not epoch then
        kept[all[at]] = all[at + 1]
    else
        local asked, served, wants, took, behind = match(all[at + 1], '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
        asked = tonumber(asked)
        -- A clock that went back makes nobody older than he is.
        if asked > now - SILENT and asked <= now + SILENT then
            nodes[epoch] = {served = tonumber(served), wants = tonumber(wants), took = tonumber(took)}
            late = max(late, tonumber(behind)) -- one for all, or the windows of two would not add up
        else
            call('HDEL', key, all[at])
        end
    end
end
local mine = nodes[me] or {served = 0}
mine.wants, mine.took, nodes[me] = want, tonumber(taken), mine

local tat = tonumber(kept.tat)
if ARGV[7] and ARGV[7] == kept.version then
    if tonumber(kept.rate) == 0 then
        tat = max(tat, now + SECOND) -- the second in which everything was sent is over before the next one is
    end
    kept.version = text(kept.version + 1)
    kept.rate, kept.step, kept.quiet = ARGV[8], ARGV[9], ARGV[10]
    if ARGV[11] == '1' then
        kept.cut = text(now)
    end
end
local account = interval == 0
if account and tonumber(kept.rate) > 0 then
    interval = ceil(SECOND / kept.rate)
end

local count, others, wanted, longest = 0, 0, 0, nil
for epoch, node in pairs(nodes) do
    count, wanted = count + 1, wanted + node.wants
    if epoch ~= me then
        others = others + node.took
        if node.wants > 0 and (not longest or node.served < longest) then
            longest = node.served
        end
    end
end

local granted, first, spaced, wait = 0, 0, 0, 0
if want > 0 and interval == 0 then
    granted = want
elseif want > 0 then
    local before, distance = tonumber(kept.late), 0 -- `late` of the block before
    tat = min(tat, now + SECOND + ahead + interval) -- no block reaches further: the clock has gone back
    if account then
        distance = 0 -- its rate is an estimate: what a message is late by may be made up for
    elseif ahead >= late then
        ahead = ahead - late
        distance = max(before - late, 0)
    else
        late = count == 1 and max(late, ALONE) or late -- it costs nothing as long as nobody follows
        ahead, spaced = 0, 1
        distance = kept.holder ~= me and max(before, late) or 0
    end
    local base = max(tat + distance, now)
    local room = floor((now + SECOND + ahead - base) / interval) + 1
    local share = room
    if longest then
        share = max(1, ceil(room * want / wanted))
    end
    first = base - ahead - now
    if room < 1 then
        wait = first - SECOND
    elseif longest and room < count and longest < mine.served then
        wait = TURN
    else
        granted = min(want, room, share)
        -- Who follows keeps the distance to all blocks, and an earlier one may have been allowed to be later than this one.
        before = before - (base + granted * interval - tat)
        tat = base + granted * interval
        kept.holder, kept.late, mine.served = me, text(max(late, before)), now
        mine.wants = want - granted
    end
end

call('HSET', key, 'tat', text(tat), 'holder', kept.holder, 'late', kept.late, 'version', kept.version, 'rate', kept.rate, 'step',
    kept.step, 'quiet', kept.quiet, 'cut', kept.cut, 'node ' .. me,
    string.format('%.0f %.0f %.0f %s %s', now, mine.served, mine.wants, taken, ARGV[4]))
call('PEXPIRE', key, DAY_MS + floor(max(tat - now, 0) / 1000))
return {granted, floor(first), interval, spaced, late, max(floor(wait), 0), count, text(others), kept.version, kept.rate,
    kept.step, kept.quiet, text(max(now - kept.cut, 0))}
