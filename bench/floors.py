"""What is to be reached, as ratios to the peers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Floor:
    """Ours divided by the peer's: at least `least`, or at most `most`."""

    scenario: int
    key: str
    against: str
    least: float | None = None
    most: float | None = None

    def reached(self, ratio: float) -> bool:
        return (self.least is None or ratio >= self.least) and (self.most is None or ratio <= self.most)

    def __str__(self) -> str:
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"


FLOORS = (
    Floor(1, "per_s", "node", least=10),
    Floor(1, "per_s", "python-socketio", least=80),
    Floor(1, "per_s", "c", least=3),
    Floor(2, "rate", "node", least=2),
    Floor(2, "rate", "python-socketio", least=10),
    Floor(3, "per_s", "node", least=1.3),
    Floor(3, "per_s", "python-socketio", least=5),
    Floor(4, "per_s", "node", least=2),
    Floor(4, "per_s", "python-socketio", least=3),
    Floor(5, "pss_kb", "node", most=0.5),
    Floor(5, "pss_kb", "python-socketio", most=0.25),
    Floor(6, "cpu_per_million", "node", most=0.5),
    Floor(6, "cpu_at_low", "python-socketio", most=0.125),
    Floor(6, "cpu_at_low", "node", most=0.5),
    Floor(7, "tasks", "node", least=1.5),
    Floor(7, "tasks", "python-socketio", least=3),
)


def find(scenario: int, key: str, against: str) -> Floor | None:
    matching = (f for f in FLOORS if (f.scenario, f.key, f.against) == (scenario, key, against))
    return next(matching, None)
