"""What is older than what was told is not told any more."""

from __future__ import annotations

from wegent.server.order import Order


def test_only_what_is_older_is_left_out() -> None:
    order: Order[str] = Order()
    told = [order.admits("a", *stamp) for stamp in ((3, 1), (3, 1), (2, 9), (3, 0), (3, 2), (4, 0))]
    assert told == [True, True, False, False, True, True]
    assert order.admits("b", 1)


def test_things_that_nobody_tells_of_are_forgotten() -> None:
    order: Order[int] = Order(kept=3)
    for thing in (1, 2, 3, 1, 4):
        order.admits(thing, 5)
    assert [order.admits(thing, 4) for thing in (1, 3, 4)] == [False, False, False]
    assert order.admits(2, 4)
