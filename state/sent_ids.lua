-- sent_ids.lua - remember what a relay called messages of ours: its id -> the token of the message (sent_ids.h).
--
-- One call is of one day. Idempotent: what is there already stays. The hashes of a day are so many that each stays small:
-- Redis keeps a small one as a list of bytes, without a pointer for each entry.
--   KEYS  the day's count, then the hash of each message
--   ARGV  seconds that they live, most that are kept of a day; then field and token of each message
-- Reply: a letter for each: k kept (or there already), f full.
local ttl, most = ARGV[1], tonumber(ARGV[2])
local call, said = redis.call, {}
local before = tonumber(call('GET', KEYS[1]) or 0)
local count = before

for i = 2, #KEYS do
    local field, token = ARGV[2 * i - 1], ARGV[2 * i]
    if count >= most then
        said[#said + 1] = call('HEXISTS', KEYS[i], field) == 1 and 'k' or 'f'
    else
        said[#said + 1] = 'k'
        if call('HSETNX', KEYS[i], field, token) == 1 then
            count = count + 1
            if call('HLEN', KEYS[i]) == 1 then
                call('EXPIRE', KEYS[i], ttl)
            end
        end
    end
end
if count > before then
    call('SET', KEYS[1], count, 'EX', ttl)
end
return table.concat(said)
