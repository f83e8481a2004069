-- What doors tell: windows of different elements, and blocks of addresses, on Redis's own clock.
--
-- "note": KEYS: one per note. ARGV per note: element ("" looks only), window in ms, "1" if the whole is answered.
--   A window is a sorted set: element -> the ms it was noted last. Answer per note: count, ms since the element was noted
--   before (-1: it was not), and of a whole one element, age, element, age …
-- "block": KEYS[1]: the blocks, a sorted set: source -> the ms until it holds. ARGV: source, for how many ms.
-- "blocks": KEYS[1]: the same. Answer: source, ms left, source, ms left …
local call = redis.call
local MOST_ELEMENTS, MOST_BLOCKS = 1000, 10000

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function note(key, element, window, whole)
  call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  local before = -1
  if element ~= '' then
    local last = call('ZSCORE', key, element)
    if last then before = math.max(0, now - tonumber(last)) end
    call('ZADD', key, now, element)
    call('ZREMRANGEBYRANK', key, 0, -MOST_ELEMENTS - 1)
    call('PEXPIRE', key, window)
  end
  local answer = { call('ZCARD', key), before }
  if whole then
    local all = call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for place = 1, #all, 2 do
      answer[#answer + 1] = all[place]
      answer[#answer + 1] = math.max(0, now - tonumber(all[place + 1]))
    end
  end
  return answer
end

local what = ARGV[1]
if what == 'note' then
  local answers = {}
  for place, key in ipairs(KEYS) do
    local at = 3 * place - 1
    answers[place] = note(key, ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2] == '1')
  end
  return answers
end

local blocks = KEYS[1]
call('ZREMRANGEBYSCORE', blocks, '-inf', now)
if what == 'block' then
  local until_ms = now + tonumber(ARGV[3])
  local held = call('ZSCORE', blocks, ARGV[2])
  if not held or tonumber(held) < until_ms then call('ZADD', blocks, until_ms, ARGV[2]) end
  call('ZREMRANGEBYRANK', blocks, 0, -MOST_BLOCKS - 1)
  local last = call('ZRANGE', blocks, -1, -1, 'WITHSCORES')
  call('PEXPIREAT', blocks, last[2])
  return 1
end
local answer = {}
local all = call('ZRANGE', blocks, 0, -1, 'WITHSCORES')
for place = 1, #all, 2 do
  answer[place] = all[place]
  answer[place + 1] = tonumber(all[place + 1]) - now
end
return answer
