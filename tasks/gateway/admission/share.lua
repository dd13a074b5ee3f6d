-- One beat of one run: what it wants of the key's limits, and what it gets. One step for all who share them.
-- KEYS: members (hash), halt (string). ARGV: id, now in ms ('' for the store's own clock), expiry in ms,
-- then for requests and for tokens a minute: limit (0 none), wanted, held.
-- Gives back: now, granted requests, granted tokens, the halt that was told.
local members, halt = KEYS[1], KEYS[2]
local id, expiry = ARGV[1], tonumber(ARGV[3])
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local YOUNG = 2500

local born = tonumber(redis.call('HGET', members, 'born'))
if not born then
  born = now
  redis.call('HSET', members, 'born', born)
end

-- Those who live, as {expires, and for each limit: limit, wanted, granted}.
local alive = {}
local all = redis.call('HGETALL', members)
for at = 1, #all, 2 do
  local name = all[at]
  if name ~= 'born' and name ~= id then
    local told = cjson.decode(all[at + 1])
    if told[1] < now then
      redis.call('HDEL', members, name)
    else
      alive[name] = told
    end
  end
end
local had = redis.call('HGET', members, id)

-- The fair share of one who wants so much: everyone gets what it wants, or the same as all others who want more.
local function fair(limit, mine, slot)
  local wants = { mine }
  for _, told in pairs(alive) do wants[#wants + 1] = told[slot + 1] end
  table.sort(wants)
  local left, open = limit, #wants
  for _, want in ipairs(wants) do
    local level = left / open
    if want >= level then return math.min(mine, level) end
    left, open = left - want, open - 1
  end
  -- All wants fit: what is left over is shared evenly, so that nobody starts from nothing.
  return mine + left / #wants
end

local granted = {}
for at = 0, 1 do
  local limit, want, held = tonumber(ARGV[4 + 3 * at]), tonumber(ARGV[5 + 3 * at]), tonumber(ARGV[6 + 3 * at])
  local slot = 2 + 3 * at
  local others = 0
  for _, told in pairs(alive) do
    -- Runs that were told different limits keep to the smallest.
    if told[slot] > 0 and (limit == 0 or told[slot] < limit) then limit = told[slot] end
    others = others + told[slot + 2]
  end
  local grant = 0
  if limit > 0 then
    -- Never more than nobody holds: who holds too much gives it back at its own next beat.
    grant = math.max(0, math.min(fair(limit, want, slot), limit - others))
    -- A store that has forgotten everything waits until all who hold a share have told so.
    if not had and now - born < YOUNG then grant = math.min(grant, held) end
  end
  granted[at + 1] = { limit, want, grant }
end
local told = { now + expiry, granted[1][1], granted[1][2], granted[1][3], granted[2][1], granted[2][2], granted[2][3] }
redis.call('HSET', members, id, cjson.encode(told))
redis.call('PEXPIRE', members, 3600000)
return { tostring(now), tostring(granted[1][3]), tostring(granted[2][3]), redis.call('GET', halt) or '' }
