-- lease.lua - a node says that it lives: at its start, and from then on about once a second (state/lease.c).
--
-- A name belongs to one state_dir at a time. Where the same state_dir asks with a later epoch, its locks have proven that
-- the earlier one is dead, and that one's lease ends at once. An earlier one that asks behind a later is a dead connection's.
--   KEYS  hikyaku:node:NAME hikyaku:lease:EPOCH hikyaku:journal:ID
--   ARGV  epoch; ID of the state_dir; name; life of the lease in ms; how far the node's event log has been told, or ''
-- Reply: {-1 it holds the name; -2 the epoch is another node's (drawn twice, from a Redis that had forgotten) or a dead one; else
-- how many ms the name is still held by another state_dir; how many keys this Redis has thrown away since it began}.
local call = redis.call
local evicted = tonumber(string.match(call('INFO', 'stats'), 'evicted_keys:(%d+)')) or 0
local epoch, id = ARGV[1], ARGV[2]
local drawn = call('GET', KEYS[2])
if drawn and drawn ~= ARGV[3] then
    return { -2, evicted }
end
local holder = call('GET', KEYS[1])
if holder then
    local held_epoch, held_id = string.match(holder, '^(%d+) (.*)$')
    if held_id ~= id then
        return { math.max(call('PTTL', KEYS[1]), 0), evicted }
    end
    if tonumber(held_epoch) > tonumber(epoch) then
        return { -2, evicted }
    end
    if held_epoch ~= epoch then
        call('DEL', 'hikyaku:lease:' .. held_epoch)
    end
end
call('SET', KEYS[1], epoch .. ' ' .. id, 'PX', ARGV[4])
call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
if ARGV[5] ~= '' then
    call('SET', KEYS[3], ARGV[5])
end
return { -1, evicted }
