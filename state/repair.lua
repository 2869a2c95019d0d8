-- repair.lua - make one span usable whose keys are gone in part (state/store_repair.c). No node runs its campaign.
--
--   KEYS  {c}:own {c}:s:SEG.SPAN {c}:d:SEG.SPAN {c}:f:SEG.SPAN
--   ARGV  recipients in the span; now, in seconds of the campaign, 1 or more
-- Reply: 1 where something was changed. Words that are gone or cut: as if it had never been taken. Words that nobody owns are
-- a dead node's, of epoch 0. Deferred recipients without a due time or a first attempt: due at once, first tried now.
local call = redis.call
local DEFERRED, MARK, DUE_AT_ONCE = 3, 16, 1
local name, bytes = string.match(KEYS[2], '[^:]*$'), tonumber(ARGV[1]) * 4
local words = call('GET', KEYS[2]) or ''
if #words ~= bytes then
    return call('HDEL', KEYS[1], name) + call('DEL', KEYS[2], KEYS[3], KEYS[4]) > 0 and 1 or 0
end
local changed = call('HSETNX', KEYS[1], name, '0')
for key, value in pairs({ [KEYS[3]] = DUE_AT_ONCE, [KEYS[4]] = tonumber(ARGV[2]) }) do
    local text = call('GET', key) or ''
    for at = 1, bytes, 4 do
        local known = string.sub(text, at, at + 3)
        if string.byte(words, at) % MARK == DEFERRED and (#known < 4 or known == '\0\0\0\0') then
            call('SETRANGE', key, at - 1, struct.pack('<I4', value))
            changed = 1
        end
    end
end
return changed
