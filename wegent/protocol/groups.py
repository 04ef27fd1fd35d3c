"""Group chats and changes of a task over REST (protocol section 10)."""

from attrs import field, frozen

from wegent.protocol.fields import COUNT, FILLED, ID, NAME, AtMost, FieldError, Text
from wegent.protocol.limits import MAX_CLIENT_MESSAGE_ID, MAX_MEMBERS, MAX_NAME
from wegent.protocol.tasks import Member

INVITES = AtMost(MAX_MEMBERS)


@frozen(kw_only=True)
class Invite:
    """`POST /tasks/{id}/members`: somebody, by id or by name."""

    user_id: int | None = field(default=None, validator=ID)
    user_name: str | None = field(default=None, validator=NAME)

    def __attrs_post_init__(self) -> None:
        """Check that it names somebody in one way."""
        if (self.user_id is None) == (self.user_name is None):
            raise FieldError("user_id", "either this or `user_name`", "neither" if self.user_id is None else "both")


@frozen(kw_only=True)
class MakeGroup:
    """`POST /tasks/{id}/group-chat`: a task becomes a group chat, of these people beside its owner."""

    members: tuple[Invite, ...] = field(default=(), validator=INVITES)


@frozen(kw_only=True)
class Members:
    """Who is in a group chat, the owner first."""

    items: tuple[Member, ...]


@frozen(kw_only=True)
class ChangeTask:
    """`PUT /tasks/{id}`."""

    title: str = field(validator=Text(1, MAX_NAME))


@frozen(kw_only=True)
class MarkRead:
    """`PUT /tasks/{id}/read`: everything up to a message has been read."""

    message_id: int = field(validator=COUNT)


@frozen(kw_only=True)
class MarkReadReply:
    """Reply to `MarkRead`: how far that is now, and what is left."""

    message_id: int
    unread: int


@frozen(kw_only=True)
class EditMessage:
    """`POST /tasks/{id}/subtasks/{id}/edit`: a message in place of one that was sent, and of all that came after it."""

    message: str = field(validator=FILLED)
    client_message_id: str | None = field(default=None, validator=Text(1, MAX_CLIENT_MESSAGE_ID))
