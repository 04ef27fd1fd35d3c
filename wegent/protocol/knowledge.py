"""Knowledge bases over REST: an addition of ours to protocol section 10."""

from datetime import datetime

from attrs import field, frozen

from wegent.protocol.fields import ID, TEXT, Text

NAME = Text(1, 255)


@frozen(kw_only=True)
class NewKnowledgeBase:
    """`POST /knowledge-bases`, `PUT /knowledge-bases/{id}`."""

    name: str = field(validator=NAME)


@frozen(kw_only=True)
class NewDocument:
    """`POST /knowledge-bases/{id}/documents`: a text with its title, or an attachment, whose name is its title."""

    title: str | None = field(default=None, validator=NAME)
    text: str | None = field(default=None, validator=TEXT)
    attachment_id: int | None = field(default=None, validator=ID)


@frozen(kw_only=True)
class KnowledgeBaseItem:
    """A knowledge base as its user sees it."""

    id: int
    name: str
    documents: int
    characters: int
    created_at: datetime
    updated_at: datetime


@frozen(kw_only=True)
class DocumentItem:
    """A document; `text` where one document is asked for."""

    id: int
    title: str
    characters: int
    created_at: datetime
    text: str | None = None
