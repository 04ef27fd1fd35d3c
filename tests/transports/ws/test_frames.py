"""Server frames, close payloads and masking."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame

from wegent.transports.ws import BINARY, CLOSE, NO_STATUS, PING, PONG, TEXT, ProtocolError, close_frame, frame
from wegent.transports.ws.client import masked_frame
from wegent.transports.ws.frames import close_payload, is_close_code, parse_close
from wegent.transports.ws.masking import apply_mask, apply_mask_in_python, fastest


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_frame_has_the_shortest_head(length: int, opcode: int) -> None:
    payload = b"x" * length
    assert frame(payload, opcode) == Frame(opcode, payload).serialize(mask=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frame_over_125_bytes_is_refused(opcode: int) -> None:
    assert frame(b"x" * 125, opcode)[1] == 125
    with pytest.raises(ValueError, match="at most 125"):
        frame(b"x" * 126, opcode)


def test_unknown_opcode_is_refused() -> None:
    with pytest.raises(ValueError, match="0x3"):
        frame(b"", 3)


def test_close_frame_carries_code_and_reason() -> None:
    assert close_frame(4001, "Später") == b"\x88\x09" + (4001).to_bytes(2, "big") + "Später".encode()
    assert close_frame(NO_STATUS) == b"\x88\x00"


@settings(deadline=None)
@given(st.text())
def test_close_reason_is_cut_between_code_points(reason: str) -> None:
    payload = close_payload(1000, reason)
    assert len(payload) <= 125
    code, said = parse_close(payload)
    assert code == 1000
    sendable = reason.encode("utf-8", "replace").decode()
    assert sendable.startswith(said)
    assert len(said.encode()) > 119 or said == sendable


@pytest.mark.parametrize("code", [0, 999, *range(1000, 1020), 1999, 2999, 3000, 3999, 4000, 4999, 5000, 65535])
def test_close_codes_are_judged_as_the_reference_does(code: int) -> None:
    payload = code.to_bytes(2, "big")
    try:
        Close.parse(payload).check()
    except Exception:
        assert not is_close_code(code)
        with pytest.raises(ProtocolError):
            parse_close(payload)
    else:
        assert parse_close(payload) == (code, "")


def test_close_code_that_may_not_be_sent_is_refused() -> None:
    with pytest.raises(ValueError, match="1006"):
        close_frame(1006)


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_in_python_equals_masking_in_c(data: bytes, mask: bytes) -> None:
    expected = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    assert apply_mask_in_python(data, mask) == expected
    assert apply_mask(data, mask) == expected


def test_without_the_c_part_masking_falls_back_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    assert fastest() is apply_mask_in_python


@pytest.mark.parametrize("length", [0, 125, 126, 65536])
def test_client_frame_is_masked(length: int) -> None:
    plain = frame(b"x" * length)
    masked = masked_frame(b"x" * length, mask=b"\0\0\0\0")
    assert masked[1] == plain[1] | 0x80
    assert len(masked) == len(plain) + 4
    assert masked.endswith(b"x" * length)
