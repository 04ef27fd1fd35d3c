"""What is encoded decodes to the same, and whatever comes in is a value or one error: properties of all classes."""

import enum
import types
from datetime import UTC, datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wegent import codec, protocol
from wegent.protocol.events import EVENTS
from wegent.protocol.fields import AtMost, ToolName, Variant


def texts(least=0, most=None):
    return st.text(
        st.characters(exclude_categories=("Cs",), exclude_characters="\x00"),
        min_size=least,
        max_size=min(most or 20, 20),
    )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
    max_leaves=6,
)
SCALARS = {
    int: st.integers(1, 30),
    str: texts(1),
    bool: st.booleans(),
    float: st.floats(0, 1e9),
    types.NoneType: st.none(),
    datetime: st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    Any: JSON.filter(lambda value: value is not None),
}


def strategy(hint):
    if hint in SCALARS:
        return SCALARS[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(strategy, args))
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple:
        return st.lists(strategy(args[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(texts(1), strategy(args[1]), max_size=3)
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if hint is protocol.OtherContext:
        return st.builds(
            hint, type=st.just("ticket"), data=st.dictionaries(texts(1).filter(lambda k: k != "type"), JSON)
        )
    if attrs.has(hint):
        return objects(hint)
    assert issubclass(hint, Variant)
    return st.one_of(*(strategy(each) for each in hint.__subclasses__() if hasattr(protocol, each.__name__)))


def objects(kind):
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: fitting(field, strategy(hints[field.name])) for field in attrs.fields(kind)})


def fitting(field, values):
    """Lists as long as they may be, and names of tools."""
    check = field.validator
    if isinstance(check, ToolName):
        return st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
    return values.filter(lambda value: value is None or not check.fault(value)) if isinstance(check, AtMost) else values


CARRIED = {kind for each in EVENTS for kind in (each.payload, each.ack) if kind}
KINDS = [
    *sorted(CARRIED, key=lambda kind: kind.__name__),
    protocol.RunnerMessage,
    protocol.RunnerCommand,
    protocol.Frame,
    protocol.Context,
    protocol.Row,
    protocol.FetchTasks,
    protocol.FetchedTasks,
    protocol.ReportStatus,
    protocol.ReportReply,
    protocol.ResponseRequest,
    protocol.Resource,
    protocol.Refusal,
    *protocol.SPECS.values(),
    *get_args(protocol.ResponseEvent),
]


def sentence(call, *args):
    """Return what a refusal says, None if there was none."""
    try:
        call(*args)
    except codec.CodecError as error:
        return error.sentence
    return None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_is_encoded_decodes_to_the_same(kind, data):
    value = data.draw(strategy(kind))
    assert codec.decode_as(codec.encode(value), kind) == value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_json_becomes_an_object_or_one_error(kind, data):
    names = [field.name for field in attrs.fields(kind)] if attrs.has(kind) else ["type", "id", "event", "content"]
    value = data.draw(JSON | st.dictionaries(st.sampled_from(names) if names else texts(), JSON))
    assert sentence(codec.convert, value, kind) is None or "expected" in sentence(codec.convert, value, kind)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_become_a_value_or_one_error(data):
    for decode in (codec.decode, codec.decode_loose):
        assert (sentence(decode, data) or "expected").startswith("expected")
