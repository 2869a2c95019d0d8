-- note.lua - set fields of a campaign's manifest, or of its sites (state/ledger.c).
--
-- Not where Redis has forgotten the campaign: a part of it would come to be, and hide that.
--   KEYS  {c}:m, and the hash to write: {c}:m or {c}:site
--   ARGV  field, value, ...
-- Reply: 1, or 0 where the campaign is gone.
if redis.call('HEXISTS', KEYS[1], 'state') == 0 then
    return 0
end
redis.call('HSET', KEYS[2], unpack(ARGV))
return 1
