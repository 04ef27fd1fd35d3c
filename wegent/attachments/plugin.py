"""Attachments as a plugin: where their bytes are, what is read of them, and their REST calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio
from attrs import field, frozen
from attrs.validators import gt

from wegent.attachments.folder import FolderBlobs
from wegent.attachments.reading import Reader, ReadingLimits
from wegent.core.kernel import Worker
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.protocol.limits import MAX_ATTACHMENT
from wegent.server.api.attachments import attachments_blueprint, upload_blueprint
from wegent.server.api.blueprints import Blueprints
from wegent.server.attachments import Attachments
from wegent.server.auth import TokenAuth
from wegent.server.ports.blobs import Blobs
from wegent.server.ports.routes import Routes
from wegent.server.ports.store import Store


@frozen(kw_only=True)
class AttachmentsConfig:
    """Bytes of one attachment, and of all of a user's; how many a user may send at once; what is read of one."""

    most: int = field(default=MAX_ATTACHMENT, validator=gt(0))
    per_user: int = field(default=2_000_000_000, validator=gt(0))
    at_once: int = field(default=4, validator=gt(0))
    reading: ReadingLimits = field(factory=ReadingLimits)


class AttachmentsPlugin(Plugin):
    """Files that go with messages (protocol §10), in the data folder."""

    name = "attachments"
    requires: ClassVar[tuple[type[Any], ...]] = (Store, TokenAuth)
    provides: ClassVar[tuple[type[Any], ...]] = (Blobs, Attachments, Routes)
    Config = AttachmentsConfig

    async def run(
        self, config: AttachmentsConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Nothing goes on beside the calls."""
        blobs = FolderBlobs(deps.one(Worker).data.absolute() / "attachments")
        await blobs.sweep()
        attachments = Attachments(
            deps.one(Store),
            blobs,
            Reader(config.reading).read,
            most=config.most,
            per_user=config.per_user,
            at_once=config.at_once,
        )
        auth = deps.one(TokenAuth)
        routes = Blueprints([upload_blueprint(attachments, auth), attachments_blueprint(attachments, auth)])
        task_status.started(
            [
                Provision(Blobs, blobs),
                Provision(Attachments, attachments),
                Provision(Routes, routes, self.name),
            ]
        )
        await trio.sleep_forever()
