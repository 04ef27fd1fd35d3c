"""What happens in Redis in one step, for the log.

A stream is a hash and a string for each channel, whose name is the hash's, a colon and the channel. Fields of the hash:
`e` is the ending in JSON; `t` and a channel, its length in code points and its size in bytes; `v` and a key, a value as
`VERSION SIZE-OF-KIND KIND DATA`, without the last space. A string that does not have its size was evicted: it counts
as empty, for its text is lost. Commands of Redis count bytes, so offsets are compared with the length kept beside them.
"""

from __future__ import annotations

from wegent.fanout.redis.script import Script

# KEYS: the hash, the string of each text.
# ARGV: ttl in ms, channel of the announcement, its head, number of texts; of each text its field, offset, code points,
# bytes; then of each value its field, version, kind, data.
# Returns 0; or -1 if the stream has ended; or the place of the first text that doesn't continue its channel, and the
# channel's length.
APPEND = Script("""
local meta, ttl, texts = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[4])
if redis.call('HEXISTS', meta, 'e') == 1 then return {-1} end
local lengths, sizes = {}, {}
for i = 1, texts do
  local at = 1 + 4 * i
  local kept = redis.call('HGET', meta, ARGV[at])
  local length, size = 0, 0
  if kept then length, size = kept:match('(%d+) (%d+)') end
  length, size = tonumber(length), tonumber(size)
  if redis.call('STRLEN', KEYS[i + 1]) ~= size then
    redis.call('DEL', KEYS[i + 1])
    redis.call('HDEL', meta, ARGV[at])
    length, size = 0, 0
  end
  local offset, more, delta = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3]
  if offset == length then
    lengths[i], sizes[i] = length + more, size + #delta
  elseif offset + more ~= length or redis.call('GETRANGE', KEYS[i + 1], -#delta, -1) ~= delta then
    return {i, length}
  end
end
local said = {ARGV[3]}
for i = 1, texts do
  local at, key = 1 + 4 * i, KEYS[i + 1]
  said[#said + 1] = ARGV[at + 3]
  if lengths[i] then
    redis.call('HSET', meta, ARGV[at], string.format('%d %d', lengths[i], sizes[i]))
    if #ARGV[at + 3] > 0 then
      redis.call('APPEND', key, ARGV[at + 3])
      if sizes[i] == #ARGV[at + 3] then redis.call('PEXPIRE', key, ttl) end
    end
  end
end
for at = 5 + 4 * texts, #ARGV, 4 do
  local kept, kind, data = redis.call('HGET', meta, ARGV[at]), ARGV[at + 2], ARGV[at + 3]
  said[#said + 1] = data
  if not kept or tonumber(kept:match('%d+')) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', meta, ARGV[at], ARGV[at + 1] .. ' ' .. #kind .. ' ' .. kind .. data)
  end
end
if redis.call('PTTL', meta) < ttl / 2 then
  redis.call('PEXPIRE', meta, ttl)
  for _, field in ipairs(redis.call('HKEYS', meta)) do
    if field:sub(1, 1) == 't' then redis.call('PEXPIRE', meta .. ':' .. field:sub(2), ttl) end
  end
end
redis.call('PUBLISH', ARGV[2], table.concat(said))
return {0}
""")

# KEYS: the hash. ARGV: channel and offset, for each channel that is not wanted from its beginning.
# Returns fields and values of the hash, one behind the other, but of a text instead of its length and size: its length,
# where what follows begins in bytes, and the bytes from there, which are at least those of the text from the offset on.
READ = Script("""
local meta, since, found = KEYS[1], {}, {}
for at = 1, #ARGV, 2 do since['t' .. ARGV[at]] = tonumber(ARGV[at + 1]) end
local fields = redis.call('HGETALL', meta)
for at = 1, #fields, 2 do
  local field, kept = fields[at], fields[at + 1]
  if field:sub(1, 1) == 't' then
    local key = meta .. ':' .. field:sub(2)
    local length, size = kept:match('(%d+) (%d+)')
    length, size = tonumber(length), tonumber(size)
    if redis.call('STRLEN', key) ~= size then length, size = 0, 0 end
    local offset = since[field] or 0
    local start = offset
    if size ~= length then start = math.max(offset, size - 4 * (length - offset)) end
    local text = ''
    if offset < length then text = redis.call('GETRANGE', key, start, -1) end
    kept = {length, start, text}
  end
  found[#found + 1] = field
  found[#found + 1] = kept
end
return found
""")

# KEYS: the hash. ARGV: the ending, ms until the stream is forgotten.
END = Script("""
redis.call('HSET', KEYS[1], 'e', ARGV[1])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if field:sub(1, 1) == 't' then redis.call('PEXPIRE', KEYS[1] .. ':' .. field:sub(2), ARGV[2]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

SCRIPTS = (APPEND, READ, END)
