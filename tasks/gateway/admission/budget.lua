-- One run's part of a day's budget, in one step for all who share it. Amounts in 10⁻⁹ USD.
-- KEYS: parts of the day (hash, run → amount). ARGV: run, wanted in all, the least of use, the day's limit, what the run
-- believes to hold, expiry in ms; 'settle' as the seventh sets the part to what is wanted, whatever the limit.
-- Gives back: the run's part, that of all others, whether less was known of the run than it believes.
local run, wanted, least, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local own = tonumber(redis.call('HGET', KEYS[1], run) or '0')
local forgot = own < tonumber(ARGV[5]) and '1' or '0'
own = math.max(own, tonumber(ARGV[5]))
local others = 0
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  if all[at] ~= run then others = others + tonumber(all[at + 1]) end
end
if ARGV[7] == 'settle' or wanted <= own then
  own = wanted
else
  local most = math.min(wanted, limit - others)
  if most >= least then own = math.max(own, most) end
end
redis.call('HSET', KEYS[1], run, string.format('%.0f', own))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return { string.format('%.0f', own), string.format('%.0f', others), forgot }
