"""What is read of a file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from tests.attachments.pdfs import pdf
from wegent.attachments.reading import Reader, Reading, ReadingLimits


@pytest.fixture
def file(tmp_path: Path):
    def write(data: bytes) -> Path:
        path = tmp_path / "file"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain text\n", "plain text\n"),
        ("grüße 🌱".encode(), "grüße 🌱"),
        ("\ufeffwith a mark".encode(), "with a mark"),
        ("grüße 🌱".encode("utf-16"), "grüße 🌱"),
    ],
)
async def test_text_is_read_in_the_encodings_of_unicode(file, data, text):
    assert await Reader().read(file(data)) == Reading(text)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n\x00", "grüße".encode("latin-1"), b"a\0b"])
async def test_what_is_no_text_says_so(file, data):
    read = await Reader().read(file(data))
    assert read.text == ""
    assert "no text" in read.unread


@pytest.mark.parametrize("data", [b"", b" \n\t"])
async def test_what_is_empty_says_so(file, data):
    assert (await Reader().read(file(data))).unread == "there is no text in it"


@pytest.mark.parametrize("letter", ["x", "é", "🌱"])
async def test_a_long_text_is_cut_at_a_code_point(file, letter):
    reader = Reader(ReadingLimits(characters=10))
    assert await reader.read(file((letter * 11).encode())) == Reading(letter * 10, cut=True)
    assert await reader.read(file((letter * 10).encode())) == Reading(letter * 10)
    assert (await reader.read(file((letter * 5_000).encode()))).cut


async def test_a_pdf_is_read_page_by_page(file):
    read = await Reader().read(file(pdf("Hello there", "second page")))
    assert read == Reading("Hello there\n\nsecond page")


async def test_a_pdf_is_read_within_the_limits(file):
    path = file(pdf(*(f"page {number}" for number in range(9))))
    assert await Reader(ReadingLimits(pages=2)).read(path) == Reading("page 0\n\npage 1", cut=True)
    assert (await Reader(ReadingLimits(characters=8)).read(path)).text == "page 0\n\n"
    assert "more time or memory" in (await Reader(ReadingLimits(seconds=0.001)).read(path)).unread


async def test_a_pdf_with_a_password_or_without_sense_says_so(file):
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("secret"))))
    writer.encrypt("password", algorithm="RC4-128")
    made = io.BytesIO()
    writer.write(made)
    assert "password" in (await Reader().read(file(made.getvalue()))).unread
    for data in (b"%PDF-1.7\n", b"%PDF-1.4\n" + bytes(range(256)) * 100, pdf("x")[:-300]):
        read = await Reader().read(file(data))
        assert read.unread or read.text == "x"


async def test_a_pdf_that_unpacks_into_too_much_harms_nobody(file):
    limits = ReadingLimits(memory=400_000_000, cpu_seconds=5, seconds=10)
    read = await Reader(limits).read(file(pdf(stream=b"(x) Tj " * 40_000_000)))
    assert read.unread
