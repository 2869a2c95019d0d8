-- repair.lua - make one span usable whose keys are gone in part (state/store_repair.c). No node runs its campaign.
--
--   KEYS  {c}:own {c}:s:SEG.SPAN {c}:d:SEG.SPAN {c}:f:SEG.SPAN
--   ARGV  recipients in the span
-- Reply: 1 where something was changed. Words that are gone or cut: as if it had never been taken. Due times or first
-- attempts of deferred recipients: zeros, which is "at once".
local call = redis.call
local DEFERRED, MARK = 3, 16
local name, bytes = string.match(KEYS[2], '[^:]*$'), tonumber(ARGV[1]) * 4
local words = call('GET', KEYS[2]) or ''
if #words ~= bytes then
    return call('HDEL', KEYS[1], name) + call('DEL', KEYS[2], KEYS[3], KEYS[4]) > 0 and 1 or 0
end
local changed = 0
for at = 1, bytes, 4 do
    if string.byte(words, at) % MARK == DEFERRED then
        for i = 3, 4 do
            if call('STRLEN', KEYS[i]) == 0 then
                call('SETRANGE', KEYS[i], bytes - 1, '\0')
                changed = 1
            end
        end
        break
    end
end
return changed
