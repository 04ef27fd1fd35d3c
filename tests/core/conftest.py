from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.seeds import Processors, processors


@pytest.fixture(scope="module")
def simulators() -> Iterator[Processors]:
    """For the many lives of a module."""
    with processors() as found:
        yield found
