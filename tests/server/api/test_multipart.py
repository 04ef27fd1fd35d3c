"""The file of a multipart body, however it comes."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wegent.core.errors import InvalidPayload
from wegent.server.api.multipart import FilePart, name_of

BOUNDARY = b"xx"


class Pieces:
    def __init__(self, data: bytes, cuts: list[int]) -> None:
        at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        self.pieces = [data[start:end] for start, end in itertools.pairwise(at)]

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            raise StopAsyncIteration
        return self.pieces.pop(0)


async def read(body: bytes, cuts: list[int]) -> tuple[str, bytes]:
    upload = await FilePart(Pieces(body, cuts), BOUNDARY).open()  # type: ignore[arg-type]
    return upload.name, b"".join([piece async for piece in upload.data])


def field(name: str, data: bytes) -> bytes:
    return b'--xx\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), data)


def file(data: bytes) -> bytes:
    head = b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    return head + data + b"\r\n"


BYTES = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"\r\n", b"\n", b"\r", b"--", b"--x", b"\r\n--x", b"x", b"\0"]), max_size=30
).map(b"".join)
CUTS = st.lists(st.integers(0, 2_000), max_size=12)


@given(BYTES.filter(lambda data: b"--xx" not in data), CUTS)
async def test_the_file_is_whole_wherever_its_body_is_cut(data, cuts):
    body = field("before", b"1") + file(data) + field("after", b"2") + b"--xx--\r\n"
    assert await read(body, cuts) == ("a.bin", data)


@given(st.binary(max_size=500), CUTS)
async def test_any_other_body_is_refused_or_read(data, cuts):
    for body in (data, file(data), b"--xx\r\n" + data + b"\r\n--xx--\r\n"):
        with contextlib.suppress(InvalidPayload):
            await read(body, cuts)


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\dir\\b.doc", "b.doc"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\0b\n.txt", "ab.txt"),
        ("", "file"),
        ("/", "file"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_name_has_no_folders_and_nothing_that_hides(given_name, name):
    assert name_of(given_name) == name
