-- What is counted of cards, users, devices, merchants, terminals, addresses and pairs of them: a record for each.
--
-- KEYS: of all records, item after item. ARGV: "see" or "tell", the prefix of the sets of event ids, for how many
-- seconds an id is remembered; then per item what `see` and `tell` below read. Every key has the tag of the call, those of
-- the sets, which are named here, too: their names hold the time, and there is one clock for all callers: Redis's own.
--
-- A record is a string, all of it little-endian: the head (HEAD), the tail, two lists, the cells.
-- Cells: payments of one stretch of time, oldest first. A stretch is 5 s long (a tick) while the cell is in the shortest
-- window, and grows to the next window's twelfth when it leaves one: level 1 to 5. So each payment is held once, and a
-- window is the sum of the cells up to its level, which the head keeps.
-- Lists: the counterparties, each once, by the time it was last seen.
-- Tail: what a subject rarely has, in the order of the flags: where it was, marks, and series of cells of two windows.
local call, try = redis.call, redis.pcall
local pack, unpack_bytes, sub, find, rep = struct.pack, struct.unpack, string.sub, string.find, string.rep
local floor, min, max = math.floor, math.min, math.max

local KEYS, ARGV = KEYS, ARGV

local VERSION = 1
-- version, flags, the tick when something must move, ms of the first, the last and the last but one payment, the last
-- one's id, cells per level, count per window, sum per window, two lists' lengths in 30 days, a day and an hour,
-- bytes of the tail
local HEAD = '<BBI4I8I8I8I4BBBBBI4I4I4I4I4I8I8I8I8I8HHHHHHH'
local HEAD_BYTES = struct.size(HEAD)
local FLAGS, MOVE, FIRST, LAST, BEFORE, EVENT, CELLS, COUNTS, SUMS, LISTS, TAIL = 2, 3, 4, 5, 6, 7, 8, 13, 18, 23, 29
local FIELDS = 29
local NEW = { VERSION, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
local CELL, CELL_BYTES = 'I4I4I7', 15
local ENTRY_BYTES = 12
local NOBODY = rep('\0', 8)
local MOST_DISTINCT = 1000
local MOST_COUNT, MOST_SUM, NO_MOVE = 4294967295, 9007199254740991, 4294967295

local PAYMENTS = { 1, 10, 60, 1440, 43200 } -- ticks in a stretch, by level
local FAILURES, REFUNDS = { 60, 1440 }, { 1440, 43200 }
local PLACE, MARKS = 1, 2 -- flags
local SERIES = { -- flag, stretches; Python names them by these places
    { 4, FAILURES }, { 8, FAILURES }, { 16, REFUNDS }, { 32, FAILURES }, { 64, FAILURES },
}
local PLACE_BYTES, MARKS_BYTES, SERIES_HEAD, SERIES_HEAD_BYTES = 36, 48, '<BBI4I8I4I8', 26
local LONG_S, SHORT_S = '2808000', '93600' -- 30 days and a day, and a twelfth of it

local time = call('TIME')
local now_ms = time[1] * 1000 + floor(time[2] / 1000)
local now_tick = floor(now_ms / 5000)
local now_of = {} -- ticks in a stretch -> the number of the one that is now
for _, size in ipairs(PAYMENTS) do now_of[size] = floor(now_tick / size) end

local records, changed, malformed = {}, {}, 0

local function has(flags, flag)
    return flags % (2 * flag) >= flag
end

local formats = {}
local function cells_format(n)
    local format = formats[n]
    if not format then
        format = '<' .. rep(CELL, n)
        formats[n] = format
    end
    return format
end

-- Cells as numbers, three each, and the byte after them.
local function read_cells(bytes, n, at)
    if n == 0 then return {}, at end
    if n <= 40 then
        local cells = { unpack_bytes(cells_format(n), bytes, at) }
        return cells, cells[3 * n + 1]
    end
    local cells = {}
    for i = 1, 3 * n, 3 do
        cells[i], cells[i + 1], cells[i + 2], at = unpack_bytes('<' .. CELL, bytes, at)
    end
    return cells, at
end

local function write_cells(cells, n)
    if n == 0 then return '' end
    if n <= 40 then return pack(cells_format(n), unpack(cells, 1, 3 * n)) end
    return write_cells(cells, 40) .. pack(cells_format(n - 40), unpack(cells, 121, 3 * n))
end

local per_level, count_of, sum_of, oldest = {}, {}, {}, {}

-- Move cells, in place, to where they belong now; sets cells per level, from `first` on, and the totals of the windows.
-- sizes: ticks in a stretch, by level. amount: of one payment more, which is now; or nil.
-- Answers how many numbers the cells are, and the tick of the next move.
local function settle(cells, sizes, record, first, counts, sums, amount)
    local top = #sizes
    for level = 1, top do per_level[level], count_of[level], sum_of[level] = 0, 0, 0 end
    local i, o, last_level, last_at = 1, 0, 0, 0
    for was = top, 1, -1 do
        local size_was = sizes[was]
        local now_was = now_of[size_was]
        for _ = 1, record[first + was - 1] do
            local at, count, sum = cells[i], cells[i + 1], cells[i + 2]
            local level = was
            i = i + 3
            if at > now_was then at = now_was end -- the clock went back
            if now_was - at > 12 then
                local size = size_was
                repeat
                    level = level + 1
                    if level > top then break end
                    at = floor(at * size / sizes[level])
                    size = sizes[level]
                until now_of[size] - at <= 12
            end
            if level <= top then
                count_of[level], sum_of[level] = count_of[level] + count, sum_of[level] + sum
                if level == last_level and at == last_at then
                    cells[o - 1], cells[o] = min(cells[o - 1] + count, MOST_COUNT), min(cells[o] + sum, MOST_SUM)
                else
                    if per_level[level] == 0 then oldest[level] = at end
                    per_level[level] = per_level[level] + 1
                    cells[o + 1], cells[o + 2], cells[o + 3] = at, count, sum
                    o, last_level, last_at = o + 3, level, at
                end
            end
        end
    end
    if amount then
        count_of[1], sum_of[1] = count_of[1] + 1, sum_of[1] + amount
        if last_level == 1 and last_at == now_tick then
            cells[o - 1], cells[o] = min(cells[o - 1] + 1, MOST_COUNT), min(cells[o] + amount, MOST_SUM)
        else
            if per_level[1] == 0 then oldest[1] = now_tick end
            per_level[1] = per_level[1] + 1
            cells[o + 1], cells[o + 2], cells[o + 3] = now_tick, 1, amount
            o = o + 3
        end
    end
    local move, count, sum = NO_MOVE, 0, 0
    for level = 1, top do
        if per_level[level] > 0 then
            local moves = (oldest[level] + 13) * sizes[level]
            if moves < move then move = moves end
        end
        count, sum = count + count_of[level], sum + sum_of[level]
        if count > MOST_COUNT then count = MOST_COUNT end
        if sum > MOST_SUM then sum = MOST_SUM end
        record[first + level - 1], record[counts + level - 1], record[sums + level - 1] = per_level[level], count, sum
    end
    return o, move
end

-- One more into settled cells, of a time up to now; nothing where no window reaches so far back.
local function insert(cells, numbers, sizes, record, first, tick, amount)
    local level, at = 1, floor(tick / sizes[1])
    while now_of[sizes[level]] - at > 12 do
        level = level + 1
        if level > #sizes then return end
        at = floor(tick / sizes[level])
    end
    local i = 1
    for higher = #sizes, level + 1, -1 do i = i + 3 * record[first + higher - 1] end
    local stop = i + 3 * record[first + level - 1]
    while i < stop and cells[i] < at do i = i + 3 end
    if i < stop and cells[i] == at then
        cells[i + 1], cells[i + 2] = min(cells[i + 1] + 1, MOST_COUNT), min(cells[i + 2] + amount, MOST_SUM)
        return
    end
    for each = numbers, i, -1 do cells[each + 3] = cells[each] end
    cells[i], cells[i + 1], cells[i + 2] = at, 1, amount
    record[first + level - 1] = record[first + level - 1] + 1
end

-- How many of the last `held` entries of a list are in a window still. size: stretches of 300 s in one of the window's.
local function still_held(list, held, size, now)
    local total = #list / ENTRY_BYTES
    local function gone(held_still)
        return now - floor(unpack_bytes('<I4', list, (total - held_still) * ENTRY_BYTES + 9) / size) > 12
    end
    if held == 0 or not gone(held) then return held end
    local low, high = 0, held -- of the last `low` all are held, of the last `high` not
    while high - low > 1 do
        local middle = floor((low + high) / 2)
        if gone(middle) then high = middle else low = middle end
    end
    return low
end

-- None of a list has to move before a cell has: each was last seen with a payment, of the same stretches.
local function settle_list(list, record, at)
    if list == '' then return list end
    local now, n = now_of[60], #list / ENTRY_BYTES
    local later = 0 -- entries of a clock that went back
    while later < n and unpack_bytes('<I4', list, #list - later * ENTRY_BYTES - 3) > now do later = later + 1 end
    if later > 0 then
        local parts = { sub(list, 1, #list - later * ENTRY_BYTES) }
        for i = n - later, n - 1 do
            parts[#parts + 1] = pack('<c8I4', sub(list, i * ENTRY_BYTES + 1, i * ENTRY_BYTES + 8), now)
        end
        list = table.concat(parts)
    end
    local month = still_held(list, n, 720, now_of[43200])
    if month < n then list = sub(list, (n - month) * ENTRY_BYTES + 1) end
    local day = still_held(list, min(record[at + 1], month), 24, now_of[1440])
    local hour = still_held(list, min(record[at + 2], day), 1, now)
    record[at], record[at + 1], record[at + 2] = month, day, hour
    return list
end

-- A counterparty was seen: it goes to the end of its list.
local function note(list, record, at, id)
    local now = now_of[60]
    local place = find(list, id, 1, true)
    while place and (place - 1) % ENTRY_BYTES ~= 0 do place = find(list, id, place + 1, true) end
    if place then
        if unpack_bytes('<I4', list, place + 8) == now then return list end
        local from_end = (#list - place + 1) / ENTRY_BYTES
        if from_end > record[at + 1] then record[at + 1] = record[at + 1] + 1 end
        if from_end > record[at + 2] then record[at + 2] = record[at + 2] + 1 end
        return sub(list, 1, place - 1) .. sub(list, place + ENTRY_BYTES) .. pack('<c8I4', id, now)
    end
    if record[at] == MOST_DISTINCT then
        list = sub(list, ENTRY_BYTES + 1)
    else
        record[at] = record[at] + 1
    end
    record[at + 1], record[at + 2] = min(record[at + 1] + 1, record[at]), min(record[at + 2] + 1, record[at])
    return list .. pack('<c8I4', id, now)
end

-- The tail, settled. number: of a series that one more happening goes into, its time and amount; mark: number and time.
local function settle_tail(tail, record, number, time_ms, amount, mark)
    local flags, parts, move, at = record[FLAGS], {}, NO_MOVE, 1
    if has(flags, PLACE) then
        parts[1], at = sub(tail, 1, PLACE_BYTES), at + PLACE_BYTES
    end
    if has(flags, MARKS) or mark then
        local marks = sub(tail, at, at + MARKS_BYTES - 1)
        if has(flags, MARKS) then
            at = at + MARKS_BYTES
        else
            marks = rep('\0', MARKS_BYTES)
            record[FLAGS] = record[FLAGS] + MARKS
        end
        if mark then
            local was = unpack_bytes('<I8', marks, 8 * mark - 7)
            marks = sub(marks, 1, 8 * mark - 8) .. pack('<I8', max(was, time_ms)) .. sub(marks, 8 * mark + 1)
        end
        parts[#parts + 1] = marks
    end
    for i, series in ipairs(SERIES) do
        local flag, sizes = series[1], series[2]
        local known = has(flags, flag)
        if known or i == number then
            local head, cells = { 0, 0, 0, 0, 0, 0 }, {}
            if known then
                local n1, n2 = unpack_bytes('<BB', tail, at)
                head[1], head[2] = n1, n2
                cells, at = read_cells(tail, n1 + n2, at + SERIES_HEAD_BYTES)
            end
            -- cells per level, counts and sums: { n, n, count, count, sum, sum } here, and by window in the record
            local numbers, moves = settle(cells, sizes, head, 1, 3, 5)
            if i == number then
                insert(cells, numbers, sizes, head, 1, floor(time_ms / 5000), amount)
                numbers, moves = settle(cells, sizes, head, 1, 3, 5)
            end
            local bytes = write_cells(cells, numbers / 3)
            local stays = head[1] + head[2] > 0
            if stays then
                parts[#parts + 1] = pack(SERIES_HEAD, head[1], head[2], head[3], head[5], head[4], head[6]) .. bytes
                move = min(move, moves)
            end
            if stays ~= known then record[FLAGS] = record[FLAGS] + (stays and flag or -flag) end
        end
    end
    return table.concat(parts), move
end

-- Whether the tail is as long as its flags and its series say.
local function tail_fits(raw, flags, bytes)
    local at, stop = HEAD_BYTES + 1, HEAD_BYTES + bytes
    if flags >= 128 then return false end
    if has(flags, PLACE) then at = at + PLACE_BYTES end
    if has(flags, MARKS) then at = at + MARKS_BYTES end
    for _, series in ipairs(SERIES) do
        if has(flags, series[1]) then
            if at + SERIES_HEAD_BYTES - 1 > stop then return false end
            local n1, n2 = unpack_bytes('<BB', raw, at)
            at = at + SERIES_HEAD_BYTES + CELL_BYTES * (n1 + n2)
        end
    end
    return at == stop + 1
end

-- The record's fields, then its parts: tail, list, list, cells. nil if it is none of ours.
local function parse(raw)
    if #raw < HEAD_BYTES then return nil end
    -- All that it will ever hold, so that the table is made once.
    local r = {
        tail = '', one = '', other = '', cells = '', written = false, changed = false, counted = false,
        unpack_bytes(HEAD, raw),
    }
    local cells = (r[8] + r[9] + r[10] + r[11] + r[12]) * CELL_BYTES
    local tail, one, other = r[TAIL], r[LISTS] * ENTRY_BYTES, r[LISTS + 3] * ENTRY_BYTES
    if r[1] ~= VERSION or #raw ~= HEAD_BYTES + tail + one + other + cells then return nil end
    if (tail > 0 or r[FLAGS] > 0) and not tail_fits(raw, r[FLAGS], tail) then return nil end
    local at = HEAD_BYTES + tail
    if tail > 0 then r.tail = sub(raw, HEAD_BYTES + 1, at) end
    if one > 0 then r.one = sub(raw, at + 1, at + one) end
    if other > 0 then r.other = sub(raw, at + one + 1, at + one + other) end
    r.cells = sub(raw, at + one + other + 1)
    return r
end

local function load(key)
    local r = records[key]
    if r then return r end
    local raw = try('GET', key)
    if raw then
        r = type(raw) == 'string' and parse(raw)
        if not r then malformed = malformed + 1 end
    end
    if not r then
        r = { tail = '', one = '', other = '', cells = '', unpack(NEW) }
        r[MOVE] = NO_MOVE
    end
    if r[LAST] == 0 then r.counted = {} end
    records[key] = r
    return r
end

local function change(key, r)
    if not r.changed then
        r.changed = true
        changed[#changed + 1] = key
    end
end

-- Everything of it to where it belongs now. arrives: a payment's amount, or nil.
local function settle_record(r, arrives)
    local cells = read_cells(r.cells, r[8] + r[9] + r[10] + r[11] + r[12], 1)
    local move, tail
    local numbers
    numbers, move = settle(cells, PAYMENTS, r, CELLS, COUNTS, SUMS, arrives)
    r.cells = write_cells(cells, numbers / 3)
    r.one = settle_list(r.one, r, LISTS)
    r.other = settle_list(r.other, r, LISTS + 3)
    if r[FLAGS] > 0 then
        r.tail, tail = settle_tail(r.tail, r)
        move = min(move, tail)
    end
    r[MOVE] = move
end

-- A payment, where nothing has to move: into the newest cell, or into one more.
local function append(r, amount)
    local cells = r.cells
    if r[CELLS] > 0 then
        local at, count, sum = unpack_bytes('<' .. CELL, cells, #cells - CELL_BYTES + 1)
        if at == now_tick then
            count, sum = min(count + 1, MOST_COUNT), min(sum + amount, MOST_SUM)
            r.cells = sub(cells, 1, #cells - CELL_BYTES) .. pack('<' .. CELL, at, count, sum)
        elseif at > now_tick then
            return false
        else
            r[CELLS] = r[CELLS] + 1
            r.cells = cells .. pack('<' .. CELL, now_tick, 1, amount)
        end
    else
        if r[LAST] > now_ms then return false end
        r[CELLS] = 1
        r.cells = cells .. pack('<' .. CELL, now_tick, 1, amount)
    end
    r[MOVE] = min(r[MOVE], now_tick + 13)
    for i = COUNTS, COUNTS + 4 do
        if r[i] < MOST_COUNT then r[i] = r[i] + 1 end
    end
    for i = SUMS, SUMS + 4 do
        local sum = r[i] + amount
        r[i] = sum < MOST_SUM and sum or MOST_SUM
    end
    return true
end

local function be_at(r, place, event)
    local before = pack('<i4i4I8', 0, 0, 0)
    local at = 1
    if has(r[FLAGS], PLACE) then
        before = sub(r.tail, 1, 16)
        at = PLACE_BYTES + 1
    else
        r[FLAGS] = r[FLAGS] + PLACE
    end
    r.tail = place .. pack('<I8I4', now_ms, event) .. before .. sub(r.tail, at)
end

local function count(r, amount, event, extra)
    if now_tick >= r[MOVE] or not append(r, amount) then settle_record(r, amount) end
    if r[FIRST] == 0 then r[FIRST] = now_ms end
    r[BEFORE], r[LAST], r[EVENT] = r[LAST], now_ms, event
    if extra ~= '' then
        local one = sub(extra, 1, 8)
        if one ~= NOBODY then r.one = note(r.one, r, LISTS, one) end
        if #extra > 8 then
            local other = sub(extra, 9, 16)
            if other ~= NOBODY then r.other = note(r.other, r, LISTS + 3, other) end
            if #extra > 16 then be_at(r, sub(extra, 17), event) end
        end
    end
end

local function written(r)
    r[TAIL] = #r.tail
    return pack(HEAD, unpack(r, 1, FIELDS)) .. r.tail
end

local remembered_s = tonumber(ARGV[3])
local period = floor(now_ms / 1000 / remembered_s)
local expires_s = string.format('%d', (period + 2) * remembered_s)

-- Whether an event was told before. Remembered for one period at least and two at most.
local function repeated(shard, id)
    local key = ARGV[2] .. period .. ':' .. shard
    local added = try('SADD', key, id)
    if type(added) == 'table' then
        if not find(added.err, 'WRONGTYPE', 1, true) then error(added.err) end
        malformed = malformed + 1
        call('DEL', key)
        added = call('SADD', key, id)
    end
    if added == 0 then return true end
    call('EXPIREAT', key, expires_s)
    local before = try('SISMEMBER', ARGV[2] .. (period - 1) .. ':' .. shard, id)
    return before == 1
end

-- Per item: the event's id, (shard, id, subjects, amount) packed; per subject: two counterparties, place.
local function see(answers)
    local argument, key = 4, 1
    while argument <= #ARGV do
        local id = ARGV[argument]
        local shard, event, subjects, amount = unpack_bytes('<c2I4BI8', ARGV[argument + 1])
        argument = argument + 2
        local before = repeated(shard, id)
        for i = argument, argument + subjects - 1 do
            local r = load(KEYS[key])
            -- A record without payments was evicted: the event that it had counted is counted again.
            if not before or r.counted and not r.counted[id] then
                if r.counted then r.counted[id] = true end
                count(r, amount, event, ARGV[i])
                change(KEYS[key], r)
            elseif now_tick >= r[MOVE] then
                settle_record(r)
                change(KEYS[key], r)
            end
            r.written = written(r)
            answers[#answers + 1] = r.written
            key = key + 1
        end
        argument = argument + subjects
    end
end

-- Per item: the event's id, (shard, kind, number, subjects, time, amount) packed. A mark has no id and one subject.
local function tell()
    local key = 1
    for argument = 4, #ARGV, 2 do
        local shard, mark, number, subjects, time_ms, amount = unpack_bytes('<c2BBBI8I8', ARGV[argument + 1])
        local before = ARGV[argument] ~= '' and repeated(shard, ARGV[argument])
        time_ms = min(time_ms, now_ms)
        for _ = 1, subjects do
            if not before then
                local r = load(KEYS[key])
                settle_record(r)
                local move
                r.tail, move = settle_tail(
                    r.tail, r, mark == 0 and number or nil, time_ms, amount, mark == 1 and number or nil
                )
                r[MOVE] = min(r[MOVE], move)
                change(KEYS[key], r)
            end
            key = key + 1
        end
    end
end

local answers = { now_ms, 0 }
if ARGV[1] == 'see' then see(answers) else tell() end
for _, key in ipairs(changed) do
    local r = records[key]
    local long = r[COUNTS + 4] > 0 or r[LAST] > 0 or has(r[FLAGS], MARKS) or has(r[FLAGS], 16)
    call('SET', key, (r.written or written(r)) .. r.one .. r.other .. r.cells, 'EX', long and LONG_S or SHORT_S)
end
answers[2] = malformed
return answers
