"""Presence in Redis: a key each, with a time to live, and an index of their names."""

from __future__ import annotations

from collections.abc import Mapping

from wegent.core.ports.presence import Presence
from wegent.fanout.redis.link import Link
from wegent.fanout.redis.script import Script

PAGE = 1000
"""Keys that one look at the index takes."""

# The index lives as long as the longest of its keys; a key that has lapsed is taken out when it is met.
_SET = Script("""
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
""")
_DISCARD = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
""")
_FIND = Script("""
local names = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local found = {#names, names[#names] or ''}
for _, name in ipairs(names) do
  local value = redis.call('GET', KEYS[1] .. name)
  if value then
    found[#found + 1] = name
    found[#found + 1] = value
  else
    redis.call('ZREM', KEYS[2], name)
  end
end
return found
""")
SCRIPTS = (_SET, _DISCARD, _FIND)


class RedisPresence(Presence):
    """Keys that all workers of one Redis and prefix see."""

    def __init__(self, link: Link, *, prefix: str) -> None:
        self._link = link
        self._base = f"{prefix}{{presence}}:"
        self._index = f"{prefix}{{presence}}"

    async def set(self, key: str, value: str, *, ttl: float) -> None:
        """Set or renew a key."""
        await self._link.run_script(_SET, self._keys(key), key, value, max(1, round(ttl * 1000)))

    async def discard(self, key: str, value: str) -> bool:
        """Remove the key if it still has this value."""
        return bool(await self._link.run_script(_DISCARD, self._keys(key), key, value))

    async def get(self, key: str) -> str | None:
        """The key's value."""
        found = await self._link.call("GET", self._base + key)
        return None if found is None else found.decode()

    async def find(self, prefix: str) -> Mapping[str, str]:
        """All keys that begin so, a page of the index at a time: keys set meanwhile may be missed."""
        begin = prefix.encode()
        found: dict[str, str] = {}
        first, last = b"[" + begin, b"(" + begin + b"\xff"
        while True:
            count, latest, *pairs = await self._link.run_script(_FIND, (self._base, self._index), first, last, PAGE)
            found.update((name.decode(), value.decode()) for name, value in zip(pairs[::2], pairs[1::2], strict=True))
            if count < PAGE:
                return found
            first = b"(" + latest

    def _keys(self, key: str) -> tuple[str, str]:
        return self._base + key, self._index
