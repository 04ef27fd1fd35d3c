"""The engine `openai` over TLS, and through a proxy."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio

from wegent.core.errors import ConfigError, RunFailed
from wegent.engines.http import PoolConfig
from wegent.engines.openai import OpenAIConfig, OpenAIEngine
from wegent.protocol.chat_shell import ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.testing.provider import ScriptedProvider, delta, finish, scripted_provider, streams
from wegent.testing.sinks import MemorySink


def asking(base_url: str) -> ResponseRequest:
    return ResponseRequest(
        model_config=ModelConfig(model_id="m", base_url=base_url, api_key="k"),
        messages=(ModelMessage(role="user", content="Hello"),),
        metadata=ResponseMetadata(request_id="r1"),
    )


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [openssl, "req", *kind, *name, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


async def answer_over_tls(cert: Path, key: Path) -> MemorySink:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    provider = ScriptedProvider("", [streams(delta("over "), delta("TLS"), finish())])
    sink = MemorySink()
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_ssl_over_tcp, provider.serve, 0, context, host="127.0.0.1", https_compatible=True)
        listeners = await nursery.start(serve)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        async with OpenAIEngine.open(OpenAIConfig(max_retries=0)) as engine:
            try:
                await engine.run(asking(f"https://127.0.0.1:{port}/v1"), sink)
            finally:
                nursery.cancel_scope.cancel()
    return sink


async def test_an_answer_over_tls_arrives(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert (await answer_over_tls(*certificate)).content == "over TLS"


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await answer_over_tls(*certificate)
    assert caught.value.subgroup(RunFailed)


async def relay(stream: trio.SocketStream, heads: list[bytes]) -> None:
    """A proxy for plain HTTP: takes one request with an absolute address, and passes it on."""
    head = await stream.receive_some()
    heads.append(head)
    host, _, port = head.split(b" ")[1].removeprefix(b"http://").partition(b"/")[0].decode().partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as far:
        await far.send_all(head)

        async def back() -> None:
            async for data in far:
                await stream.send_all(data)
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(back)
            try:
                async for data in stream:
                    await far.send_all(data)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                return


async def test_an_answer_through_a_proxy_arrives() -> None:
    heads: list[bytes] = []
    sink = MemorySink()
    async with trio.open_nursery() as nursery, scripted_provider(streams(delta("by proxy"), finish())) as provider:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(relay, heads=heads), 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        config = OpenAIConfig(pool=PoolConfig(proxy=f"http://ann:secret@127.0.0.1:{port}"))
        async with OpenAIEngine.open(config) as engine:
            await engine.run(asking(provider.base_url), sink)
        nursery.cancel_scope.cancel()
    assert sink.content == "by proxy"
    assert heads[0].lower().count(b"proxy-authorization: basic") == 1


async def test_a_proxy_that_is_no_address_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigError, match="proxy"):
        async with OpenAIEngine.open(OpenAIConfig(pool=PoolConfig(proxy="nowhere"))):
            pass
