"""Numbers that both ends of a connection must agree on (protocol sections 1 to 3 and 7 to 9).

Those that the protocol calls configurable stand here with their defaults; configuration starts from them.
"""

from typing import Final

MAX_ID: Final = 2**53 - 1
"""Greatest id, revision, offset: the greatest integer that JavaScript holds exactly."""

MAX_PAYLOAD: Final = 1_000_000
"""Bytes of one client payload."""

MAX_FRAME: Final = 512 * 1024
"""Bytes of one frame from the server; longer catch-up text comes as several chunks."""

MAX_STREAM: Final = 4_000_000
"""Code points of one stream, after which its run fails with `output_limit`."""

MAX_ATTACHMENT: Final = 64_000_000
"""Bytes of one attachment."""

MAX_RUNNER_LINE: Final = 1_000_000
"""Bytes of one line of the runner protocol."""

MAX_DEPTH: Final = 64
"""Nested arrays and objects in a field that holds any JSON."""

MAX_CLIENT_MESSAGE_ID: Final = 64
MAX_DEVICE_ID: Final = 100
MAX_DEVICE_NAME: Final = 100
MAX_SHELL_TYPE: Final = 64
MAX_NAME: Final = 255
"""Code points of names and titles that the protocol gives no length for."""

MAX_EXECUTION_PROMPT: Final = 100_000
"""Code points of what is asked in the background."""

MAX_EXECUTOR: Final = 200
"""Code points of an executor host's name."""

MAX_MEMBERS: Final = 100
"""People in a group chat, its owner among them."""

MAX_UNREAD: Final = 1_000
"""Unread messages are counted no further."""

MAX_LIST: Final = 1_000
"""Items of a list in a client payload."""

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 500
"""Rows of one `task:join` or `history:sync`."""

MAX_FETCH_WAIT_S: Final = 30
MAX_PROGRESS: Final = 100

PING_INTERVAL_S: Final = 25
PING_TIMEOUT_S: Final = 20
CONNECT_TIMEOUT_S: Final = 45

LEASE_S: Final = 15
BEAT_S: Final = 5
CANCEL_TIMEOUT_S: Final = 15
MAX_ATTEMPTS: Final = 3
"""Attempts that the server makes by itself."""

SKILL_TIMEOUT_S: Final = 30
DEVICE_HEARTBEAT_S: Final = 30
DEVICE_TTL_S: Final = 60
DEVICE_RESUME_WINDOW_S: Final = 60
DEFAULT_SLOTS: Final = 5
MAX_CONCURRENT_CHATS: Final = 50
