"""Where Redis is, as one URL says it."""

from __future__ import annotations

import ssl
from urllib.parse import ParseResult, parse_qs, unquote, urlparse

from attrs import field, frozen

from wegent.core.errors import ConfigError

PORT, SENTINEL_PORT = 6379, 26379
FORMS = (
    "redis://[user:password@]host[:port][/database]; rediss:// for TLS; redis+unix:///path/to/socket[?db=0]; "
    "redis+sentinel://[user:password@]host[:port],…/name[/database], rediss+sentinel:// for TLS"
)
_SCHEMES = ("redis", "rediss", "redis+unix", "redis+sentinel", "rediss+sentinel")
_OPTIONS = frozenset({"ca", "cert", "db", "key", "sentinel_password", "sentinel_user"})


@frozen
class Address:
    """One server: host and port, or the path of its socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@frozen
class Login:
    """Who says AUTH; without a user, the server's default one."""

    user: str = ""
    password: str = field(default="", repr=False)


@frozen
class Target:
    """What a URL names: a server, or sentinels that know the `master` of that name; with `tls`, in that context."""

    addresses: tuple[Address, ...]
    master: str = ""
    login: Login = Login()
    sentinel_login: Login = Login()
    database: int = 0
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        """Without passwords."""
        return ",".join(map(str, self.addresses)) + (f" ({self.master})" if self.master else "")


def parse_url(url: str) -> Target:
    """The target of a URL.

    Raises:
        ConfigError: it is none of the forms, asks for a cluster, or names certificates that can't be read. Its
            sentence holds no password.
    """
    parsed = urlparse(url)
    if "cluster" in parsed.scheme:
        message = "Redis Cluster is not supported: name one server, or sentinels by redis+sentinel://host,host/name"
        raise ConfigError(message)
    if parsed.scheme not in _SCHEMES:
        message = f"a URL of Redis is one of {FORMS}; this one begins with {parsed.scheme!r}"
        raise ConfigError(message)
    options = _options(parsed)
    credentials, _, hosts = parsed.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    path = [unquote(part) for part in parsed.path.split("/") if part]
    login = Login(unquote(user), unquote(password))
    if parsed.scheme == "redis+unix":
        return Target((Address(path=_socket(parsed)),), login=login, database=_database(options.get("db", "0")))
    tls = _context(options) if parsed.scheme.startswith("rediss") else None
    if not parsed.scheme.endswith("+sentinel"):
        return Target((_address(hosts, PORT),), login=login, database=_in_path(path, options), tls=tls)
    if not path:
        message = "a URL of sentinels names what they watch: redis+sentinel://host[:port],…/name"
        raise ConfigError(message)
    return Target(
        tuple(_address(host, SENTINEL_PORT) for host in hosts.split(",")),
        master=path[0],
        login=login,
        sentinel_login=Login(options.get("sentinel_user", ""), options.get("sentinel_password", "")),
        database=_in_path(path[1:], options),
        tls=tls,
    )


def _options(parsed: ParseResult) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(parsed.query).items()}
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        message = f"a URL of Redis takes the options {', '.join(sorted(_OPTIONS))}, not {', '.join(unknown)}"
        raise ConfigError(message)
    return options


def _socket(parsed: ParseResult) -> str:
    if not parsed.path:
        message = "a URL of a socket names its path: redis+unix:///path/to/socket"
        raise ConfigError(message)
    return unquote(parsed.path)


def _address(text: str, port: int) -> Address:
    parsed = urlparse(f"//{text}")
    try:
        found = parsed.port
    except ValueError:
        message = f"a URL of Redis has a port that is none, after {parsed.hostname!r}"
        raise ConfigError(message) from None
    if not parsed.hostname:
        message = f"a URL of Redis names a host: it is one of {FORMS}"
        raise ConfigError(message)
    return Address(parsed.hostname, found or port)


def _in_path(path: list[str], options: dict[str, str]) -> int:
    if len(path) > 1:
        message = f"a URL of Redis ends with its database, a number; this one goes on with /{path[1]}"
        raise ConfigError(message)
    return _database(path[0] if path else options.get("db", "0"))


def _database(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        message = f"a database of Redis is a whole number from 0, not {text!r}"
        raise ConfigError(message)
    return int(text)


def _context(options: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
    except (OSError, ssl.SSLError) as error:
        message = f"the certificates that the URL of Redis names can't be used: {error}"
        raise ConfigError(message) from error
    return context
