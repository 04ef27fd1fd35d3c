"""The text of a PDF on standard output: a program of its own, so that a hostile file harms nobody but itself.

    python -m wegent.attachments.pdf_text FILE PAGES CHARACTERS MEMORY CPU_SECONDS

Exits with 0, or with one of `EXITS`; 10 says that there was more than it wrote.
"""

from __future__ import annotations

import logging
import resource
import sys
from collections.abc import Iterator
from typing import Final

MORE: Final = 10
LOCKED: Final = 11
BROKEN: Final = 12


def limit(memory: int, seconds: int) -> None:
    """No more than this; no files, no children."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def pages_of(path: str, most: int) -> Iterator[tuple[str, bool]]:
    """The text of each page, and whether it is the last that may be read although there are more."""
    from pypdf import PdfReader  # noqa: PLC0415 - after the limits are set

    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise PermissionError
    count = len(reader.pages)
    for number in range(min(count, most)):
        yield reader.pages[number].extract_text(), number + 1 == most < count


def main(path: str, pages: int, characters: int) -> int:
    """Write; how it went."""
    left = characters
    for text, last in pages_of(path, pages):
        sys.stdout.buffer.write(f"{text[:left]}\n\n".encode(errors="replace"))
        left -= len(text)
        if last or left <= 0:
            return MORE
    return 0


if __name__ == "__main__":
    logging.disable()
    file, *numbers = sys.argv[1:]
    most_pages, most_characters, most_memory, most_seconds = map(int, numbers)
    limit(most_memory, most_seconds)
    try:
        code = main(file, most_pages, most_characters)
    except PermissionError:
        code = LOCKED
    except Exception:
        code = BROKEN
    sys.stdout.flush()
    sys.exit(code)
