"""Tokens, logins and passwords."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import argon2
import jwt
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wegent.core.clock import Clock, SystemClock
from wegent.core.errors import (
    AccessDenied,
    ConfigError,
    InvalidPayload,
    NotAuthenticated,
    NotFound,
    Overloaded,
    RateLimited,
    TokenExpired,
)
from wegent.server.auth import FAILURES, TokenAuth
from wegent.server.passwords import Passwords
from wegent.server.ports.store import Unit
from wegent.server.records import User
from wegent.server.tokens import Claims, Signer, read_secret
from wegent.storage.memory import MemoryStore

T = TypeVar("T")
SECRET = b"s" * 64
HOUR = timedelta(hours=1)
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
GOOD = {"sub": "ada", "user_id": 1, "iat": 1_000, "exp": 2_000, "jti": "j1", "scope": "user"}


class SetClock(Clock):
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def time(self) -> float:
        return self.seconds


class CountingStore(MemoryStore):
    """Counts its reads; `hold`, while set, keeps them waiting."""

    reads = 0
    hold: trio.Event | None = None

    async def read(self, work: Callable[[Unit], T]) -> T:
        self.reads += 1
        answer = await super().read(work)
        if self.hold is not None:
            await self.hold.wait()
        return answer


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(clock: SetClock) -> CountingStore:
    return CountingStore(clock)


@pytest.fixture
def auth(store: CountingStore, clock: SetClock) -> TokenAuth:
    return TokenAuth(store, Signer(SECRET), clock, Passwords(CHEAP))


async def add_user(store: MemoryStore, name: str = "ada", password: str | None = None) -> User:
    hashed = CHEAP.hash(password) if password else None
    return await store.write(lambda unit: unit.add_user(name, password_hash=hashed))


def signed(payload: object, *, header: dict[str, Any] | None = None, key: bytes = SECRET, alg: str = "HS256") -> str:
    return jwt.api_jws.encode(json.dumps(payload).encode(), key, algorithm=alg, headers=header)


# the signer


def test_a_token_says_what_was_signed() -> None:
    signer = Signer(SECRET)
    claims = Claims("ada", 1, "j1", "device", 1_000, 2_000, {"device_id": "d"})
    assert signer.read(signer.sign(claims), 1_500) == claims


def test_a_missing_token_is_called_missing() -> None:
    for token in (None, ""):
        with pytest.raises(NotAuthenticated, match=r"^Missing authentication token$"):
            Signer(SECRET).read(token, 0)


def test_an_expired_token_is_called_expired() -> None:
    with pytest.raises(TokenExpired, match=r"^Invalid or expired token$"):
        Signer(SECRET).read(signed(GOOD), 2_000)


@pytest.mark.parametrize(
    "change",
    [
        {"sub": None},
        {"sub": 5},
        {"user_id": None},
        {"user_id": "1"},
        {"user_id": True},
        {"user_id": 0},
        {"user_id": -1},
        {"user_id": 2**53},
        {"user_id": 1.0},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 65},
        {"jti": ["j"]},
        {"scope": None},
        {"scope": "admin"},
        {"scope": ["user"]},
        {"scope": {}},
        {"exp": None},
        {"exp": "2000"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": 10**400},
        {"iat": None},
        {"iat": "x"},
        {"iat": 1_000_000},
    ],
)
def test_a_signed_token_with_a_wrong_claim_is_refused(change: dict[str, Any]) -> None:
    payload = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(NotAuthenticated, match=r"^Invalid or expired token$"):
        Signer(SECRET).read(signed(payload), 1_500)


@pytest.mark.parametrize("payload", [[], "x", 5, None, [GOOD]])
def test_a_signed_token_that_is_no_object_is_refused(payload: object) -> None:
    with pytest.raises(NotAuthenticated):
        Signer(SECRET).read(signed(payload), 1_500)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "token",
    [
        part({"alg": "none", "typ": "JWT"}) + "." + part(GOOD) + ".",
        part({"alg": "none"}) + "." + part(GOOD) + "." + part("x"),
        signed(GOOD, alg="HS512"),
        signed(GOOD, key=b"t" * 64),
        signed(GOOD, header={"kid": "../../etc/passwd"}),
        signed(GOOD, header={"crit": ["x"], "x": 1}),
        signed({**GOOD, "pad": "x" * 9000}),
        signed(GOOD) + ".",
        signed(GOOD)[:-1],
        "x" * 1_000_000,
        "a.b.c",
        "...",
        "\ud800.\udfff.\x00",
        base64.urlsafe_b64encode(b"[" * 5_000).decode() + ".e30.e30",
    ],
)
def test_a_forged_or_broken_token_is_refused(token: str) -> None:
    with pytest.raises(NotAuthenticated, match=r"^Invalid or expired token$"):
        Signer(SECRET).read(token, 1_500)


VALID = signed(GOOD)


@given(st.integers(0, len(VALID) - 1), st.characters(), st.sampled_from(["set", "insert", "delete"]))
def test_a_token_changed_anywhere_is_refused(index: int, letter: str, how: str) -> None:
    rest = VALID[index + 1 :] if how != "insert" else VALID[index:]
    changed = VALID[:index] + ("" if how == "delete" else letter) + rest
    signer = Signer(SECRET)
    try:
        claims = signer.read(changed, 1_500)
    except NotAuthenticated:
        return
    assert claims == signer.read(VALID, 1_500), "only another spelling of the same bits may pass"


@given(st.text())
def test_any_text_is_refused_without_another_error(text: str) -> None:
    with pytest.raises(NotAuthenticated):
        Signer(SECRET).read(text, 1_500)


@given(
    st.dictionaries(
        st.sampled_from(["sub", "user_id", "iat", "exp", "jti", "scope", "aud", "nbf", "iss"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2),
    )
)
def test_any_signed_claims_are_read_or_refused(payload: dict[str, Any]) -> None:
    try:
        claims = Signer(SECRET).read(signed({**GOOD, **payload}), 1_500)
    except NotAuthenticated:
        return
    assert isinstance(claims.user_id, int)
    assert 1 <= claims.user_id < 2**53
    assert claims.scope in {"user", "device", "executor", "run"}


# the secret


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    secret = read_secret(tmp_path / "new")
    assert read_secret(tmp_path / "new") == secret
    assert len(secret) >= 32
    assert stat.S_IMODE((tmp_path / "new" / "secret").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["secret"]


def test_a_secret_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("short")
    with pytest.raises(ConfigError, match="too short"):
        read_secret(tmp_path)


def test_a_secret_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be read or made"):
        read_secret(tmp_path / "file")


async def test_many_that_make_the_secret_at_once_get_the_same_one(tmp_path: Path) -> None:
    found: list[bytes] = []

    async def read() -> None:
        found.append(await trio.to_thread.run_sync(read_secret, tmp_path))

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(read)
    assert len(set(found)) == 1


# authenticate


async def test_an_issued_token_is_good_for_its_scope_only(auth: TokenAuth, store: CountingStore) -> None:
    user = await add_user(store)
    token, record = await auth.issue(user, "device", HOUR, name="box", device_id="d1")
    principal = await auth.authenticate(token, ["user", "device"])
    assert (principal.user_id, principal.user_name, principal.scope) == (user.id, "ada", "device")
    assert (principal.token_id, principal.claims) == (record.jti, {"device_id": "d1"})
    assert record.expires_at is not None
    assert principal.expires_at == record.expires_at.timestamp()
    with pytest.raises(AccessDenied, match="scope user, not device"):
        await auth.authenticate(token, ["user"])


async def test_a_token_ends_at_its_exp(auth: TokenAuth, store: CountingStore, clock: SetClock) -> None:
    token, _ = await auth.issue(await add_user(store), "user", HOUR)
    clock.seconds += 3_599
    await auth.authenticate(token, ["user"])
    clock.seconds += 1
    with pytest.raises(TokenExpired):
        await auth.authenticate(token, ["user"])


async def test_a_revoked_token_is_refused_at_once(auth: TokenAuth, store: CountingStore) -> None:
    token, record = await auth.issue(await add_user(store), "user", HOUR)
    await auth.authenticate(token, ["user"])
    await auth.revoke(record.jti)
    with pytest.raises(NotAuthenticated):
        await auth.authenticate(token, ["user"])
    with pytest.raises(NotFound):
        await auth.revoke("nothing")


async def add_run(store: CountingStore, user: User, status: str = "RUNNING") -> dict[str, int]:
    def work(unit: Unit) -> dict[str, int]:
        task = unit.add_task(owner_id=user.id, team_id=1, team_name="t", title="t", messages=1)
        row = unit.add_subtask(task=task, message_id=1, role="ASSISTANT", sender_id=user.id, status=status)
        return {"task_id": task.id, "subtask_id": row.id, "attempt": row.attempt}

    return await store.write(work)


async def test_a_token_that_the_store_does_not_know_is_good_for_a_run_only(
    auth: TokenAuth, store: CountingStore
) -> None:
    user = await add_user(store)
    with pytest.raises(NotAuthenticated):
        await auth.authenticate(auth.mint(user, "user", HOUR)[0], ["user"])
    run = await add_run(store, user)
    principal = await auth.authenticate(auth.mint(user, "run", HOUR, **run)[0], ["run"])
    assert principal.claims == run


@pytest.mark.parametrize("status", ["RUNNING", "CANCELLING", "PENDING", "COMPLETED", "FAILED", "CANCELLED"])
async def test_a_run_token_is_good_while_its_attempt_runs(auth: TokenAuth, store: CountingStore, status: str) -> None:
    user = await add_user(store)
    run = await add_run(store, user, status)
    token, _ = auth.mint(user, "run", HOUR, **run)
    if status in ("RUNNING", "CANCELLING"):
        assert (await auth.authenticate(token, ["run"])).user_name == "ada"
    else:
        with pytest.raises(NotAuthenticated):
            await auth.authenticate(token, ["run"])


async def test_a_run_token_of_another_attempt_or_no_run_is_refused(auth: TokenAuth, store: CountingStore) -> None:
    user = await add_user(store)
    run = await add_run(store, user)
    for claims in ({**run, "attempt": 2}, {**run, "subtask_id": 99}, {"task_id": 1}, {**run, "subtask_id": "1"}):
        with pytest.raises(NotAuthenticated):
            await auth.authenticate(auth.mint(user, "run", HOUR, **claims)[0], ["run"])


async def test_a_run_token_ends_with_its_user(auth: TokenAuth, store: CountingStore) -> None:
    user = await add_user(store)
    token, _ = auth.mint(user, "run", HOUR, **await add_run(store, user))
    await store.write(lambda unit: unit.update_user(user.id, active=False))
    with pytest.raises(AccessDenied, match=r"^User is not active$"):
        await auth.authenticate(token, ["run"])


async def test_a_token_of_an_unknown_or_another_user_is_refused(auth: TokenAuth, store: CountingStore) -> None:
    user = await add_user(store)
    other = await add_user(store, "bo")
    _, record = await auth.issue(user, "user", HOUR)
    for name, user_id in (("ada", 99), ("bo", user.id), ("bo", other.id)):
        claims = Claims(name, user_id, record.jti, "user", 1_700_000_000, 1_700_000_100, {})
        with pytest.raises(NotAuthenticated):
            await auth.authenticate(Signer(SECRET).sign(claims), ["user"])


async def test_a_deactivated_user_is_refused_after_the_cache_or_at_once_when_forgotten(
    auth: TokenAuth, store: CountingStore, mock_clock: trio.testing.MockClock
) -> None:
    user = await add_user(store)
    token, _ = await auth.issue(user, "user", HOUR)
    await auth.authenticate(token, ["user"])
    await store.write(lambda unit: unit.update_user(user.id, active=False))
    await auth.authenticate(token, ["user"])
    auth.forget(user.id)
    with pytest.raises(AccessDenied):
        await auth.authenticate(token, ["user"])
    await store.write(lambda unit: unit.update_user(user.id, active=True))
    mock_clock.jump(2.0)
    await auth.authenticate(token, ["user"])


async def test_many_that_ask_for_the_same_read_the_store_once(auth: TokenAuth, store: CountingStore) -> None:
    token, _ = await auth.issue(await add_user(store), "user", HOUR)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(auth.authenticate, token, ["user"])
    await auth.authenticate(token, ["user"])
    assert store.reads == 1


async def test_one_that_asks_goes_on_when_the_one_that_reads_is_cancelled(
    auth: TokenAuth, store: CountingStore
) -> None:
    token, _ = await auth.issue(await add_user(store), "user", HOUR)
    store.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        first = await nursery.start(_cancellable, auth, token)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(auth.authenticate, token, ["user"])
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        store.hold.set()
    assert store.reads == 2


async def _cancellable(auth: TokenAuth, token: str, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await auth.authenticate(token, ["user"])


async def test_an_answer_read_before_a_change_is_not_remembered(auth: TokenAuth, store: CountingStore) -> None:
    user = await add_user(store)
    token, _ = await auth.issue(user, "user", HOUR)
    store.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(auth.authenticate, token, ["user"])
        await trio.testing.wait_all_tasks_blocked()
        await store.write(lambda unit: unit.update_user(user.id, active=False))
        auth.forget(user.id)
        store.hold.set()
    with pytest.raises(AccessDenied):
        await auth.authenticate(token, ["user"])


# login


async def test_a_login_gives_a_token_that_is_kept(auth: TokenAuth, store: CountingStore) -> None:
    user = await add_user(store, password="correct horse")
    token, record, found = await auth.login("ada", "correct horse")
    assert found.id == user.id
    assert (await auth.authenticate(token, ["user"])).token_id == record.jti
    assert [kept.jti for kept in await store.read(lambda unit: unit.tokens(user.id))] == [record.jti]


async def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(auth: TokenAuth, store: CountingStore) -> None:
    await add_user(store, password="correct horse")
    await add_user(store, "nopass")
    for name, password in (
        ("ada", "wrong"),
        ("bo", "correct horse"),
        ("nopass", ""),
        ("ada", "x" * 5000),
        ("ada", "\ud800"),
        ("\ud800", "correct horse"),
        ("a\0da", "correct horse"),
    ):
        with pytest.raises(NotAuthenticated, match=r"^Wrong user name or password$"):
            await auth.login(name, password)


async def test_an_inactive_user_is_told_only_with_the_right_password(auth: TokenAuth, store: CountingStore) -> None:
    user = await add_user(store, password="correct horse")
    await store.write(lambda unit: unit.update_user(user.id, active=False))
    with pytest.raises(NotAuthenticated):
        await auth.login("ada", "wrong")
    with pytest.raises(AccessDenied, match=r"^User is not active$"):
        await auth.login("ada", "correct horse")


async def test_wrong_passwords_are_limited_by_name(auth: TokenAuth, store: CountingStore) -> None:
    await add_user(store, password="correct horse")
    await add_user(store, "bo", password="battery staple")
    for _ in range(FAILURES):
        with pytest.raises(NotAuthenticated):
            await auth.login("ada", "wrong")
    with pytest.raises(RateLimited) as limited:
        await auth.login("ada", "correct horse")
    assert 0 < limited.value.details["retry_after"] <= 61
    await auth.login("bo", "battery staple")


async def test_a_hash_with_old_parameters_is_made_anew_at_login(store: CountingStore, clock: SetClock) -> None:
    newer = argon2.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    auth = TokenAuth(store, Signer(SECRET), clock, Passwords(newer))
    user = await add_user(store, password="correct horse")
    await auth.login("ada", "correct horse")
    kept = await store.read(lambda unit: unit.user(user.id))
    assert kept is not None
    assert kept.password_hash is not None
    assert not newer.check_needs_rehash(kept.password_hash)
    await auth.login("ada", "correct horse")


# passwords


@pytest.mark.parametrize("password", ["short", "x" * 1025, "long enough \ud800"])
async def test_a_password_that_cannot_be_one_is_refused(password: str) -> None:
    with pytest.raises(InvalidPayload):
        await Passwords(CHEAP).hash(password)


async def test_a_hash_that_is_none_fits_no_password() -> None:
    assert not await Passwords(CHEAP).verify("not a hash", "correct horse")


async def test_more_logins_than_may_wait_are_refused() -> None:
    passwords = Passwords(CHEAP, workers=1, waiting=0)
    with pytest.raises(Overloaded):
        await passwords.hash("correct horse")


def test_the_system_clock_is_good_for_tokens() -> None:
    now = SystemClock().time()
    signer = Signer(SECRET)
    assert signer.read(signer.sign(Claims("a", 1, "j", "user", now, now + 60, {})), now).user_id == 1
