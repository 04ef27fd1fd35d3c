"""A server as a reporter meets it: one run's log, under the real rules of a report."""

from __future__ import annotations

from wegent.codec import decode_as
from wegent.core.clock import VirtualClock
from wegent.core.model import Snapshot, StreamId
from wegent.core.replica import Replica
from wegent.core.said import Draft
from wegent.protocol.hosts import ReportStatus
from wegent.protocol.limits import MAX_PAYLOAD, MAX_STREAM
from wegent.server.reports import host_report

STREAM = StreamId(1, 2, 1)


class Server:
    """One run's log with the rules of a report, in one process that may be killed."""

    def __init__(self):
        self.clock = VirtualClock()
        self.replica = Replica(STREAM)
        self.saved = Snapshot({})
        self.asked = {}
        self.ending = None

    def take(self, body):
        """The content's length; raises as a server does."""
        assert len(body) <= MAX_PAYLOAD
        return self.take_report(host_report(decode_as(body, ReportStatus)))

    def take_report(self, report):
        draft = Draft(self.replica, self.clock, halves={}, most=MAX_STREAM, asked=self.asked)
        for said in report.said:
            draft.take(said)
        for texts, values in draft.batches():
            for channel, text in texts.items():
                self.replica.append(channel, text)
            self.replica.apply(values)
        self.asked.update(draft.skills)
        self.ending = report.ending or self.ending
        return self.replica.length()

    def save(self):
        self.saved = self.replica.snapshot()

    def restart(self):
        self.replica = Replica.of(STREAM, self.saved)
        self.asked = {}

    def values(self):
        data = [dict(value.data) for _, value in sorted(self.replica.values.items())]
        return [{name: item[name] for name in item if name not in ("version", "timestamp")} for item in data]
