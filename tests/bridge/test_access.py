"""Who may come in: tokens, origins, subprotocols."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from bridge import protocols
from bridge.access import Tokens, origin_allowed, read_tokens, scheme_of_request, token_of_handshake
from bridge.errors import ConfigurationError
from tests.bridge.bridges import client, fake_and_bridge
from tests.servers import until


def bearer(token: str) -> str:
    """Return the subprotocol that brings a token."""
    return "bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A file with two tokens."""
    path = tmp_path / "tokens"
    path.write_text("# ours\nsecret\n\nanother one\n")
    return path


async def test_a_token_by_subprotocol(tokens: Path) -> None:
    """As browsers can; the subprotocol that is chosen is the other one."""
    async with (
        fake_and_bridge(auth_tokens_file=tokens) as (_, bridge),
        client(bridge.url, subprotocols=[bearer("another one"), protocols.JSON]) as browser,
    ):
        assert browser.websocket.subprotocol == protocols.JSON
        await browser.send_frame()
        await browser.result()


async def test_a_token_by_header(tokens: Path) -> None:
    """As other clients do."""
    async with (
        fake_and_bridge(auth_tokens_file=tokens) as (_, bridge),
        client(bridge.url, additional_headers={"Authorization": "Bearer secret"}) as browser,
    ):
        await browser.send_frame()
        await browser.result()


async def test_another_scheme_does_not_hide_a_token(tokens: Path) -> None:
    """A proxy's Authorization may come with every request of a browser."""
    async with (
        fake_and_bridge(auth_tokens_file=tokens) as (_, bridge),
        client(
            bridge.url,
            subprotocols=[bearer("secret"), protocols.JSON],
            additional_headers={"Authorization": "Basic c2VjcmV0"},
        ) as browser,
    ):
        await browser.send_frame()
        await browser.result()


async def test_a_token_by_first_message(tokens: Path) -> None:
    """The welcome follows it; sent again, it changes nothing."""
    async with (
        fake_and_bridge(auth_tokens_file=tokens) as (_, bridge),
        client(bridge.url, welcome=False) as browser,
    ):
        await browser.send("authenticate", {"token": "secret"})
        assert (await browser.receive())[0] == "connected"
        await browser.send("authenticate", {"token": "wrong"})
        await browser.send_frame()
        await browser.result()


async def test_strangers_hold_no_place(tokens: Path) -> None:
    """Who has not shown a token yet keeps nobody out; at a drain it is let go at once, with 1001."""
    async with (
        fake_and_bridge(
            auth_tokens_file=tokens, max_concurrent_connections=1, handshake_timeout=600
        ) as (_, bridge),
        client(bridge.url, welcome=False) as stranger,
    ):
        await until(lambda: bridge.server._unauthenticated)
        async with client(bridge.url, subprotocols=[bearer("secret")]) as browser:
            await browser.send_frame()
            await browser.result()
        async with asyncio.timeout(20):
            await bridge.server.drain()
        assert await stranger.closed() == 1001


async def test_a_drain_at_the_moment_a_strangers_time_is_over(tokens: Path) -> None:
    """It goes on for all the others."""
    async with (
        fake_and_bridge(auth_tokens_file=tokens) as (_, bridge),
        client(bridge.url, welcome=False) as stranger,
    ):
        await until(lambda: bridge.server._unauthenticated)
        (patience,) = bridge.server._unauthenticated
        patience.reschedule(0)
        await asyncio.create_task(bridge.server.drain())
        assert await stranger.closed() == 1001


@pytest.mark.parametrize("offered", [bearer("wrong"), "bearer.!", "bearer."])
async def test_a_wrong_token_by_subprotocol(tokens: Path, offered: str) -> None:
    """Told, and closed with 1008; no first message can mend it."""
    if offered == "bearer.!":
        offered = "bearer.~~~"
    async with (
        fake_and_bridge(auth_tokens_file=tokens) as (_, bridge),
        client(bridge.url, welcome=False, subprotocols=[offered, protocols.JSON]) as browser,
    ):
        assert (await browser.error())["code"] == "UNAUTHORIZED"
        assert await browser.closed() == 1008


async def test_the_bridge_shows_the_detector_its_own_token(tokens: Path) -> None:
    """The first of DETECTOR_TOKEN_FILE, on every call."""
    async with (
        fake_and_bridge(detector_token_file=tokens) as (detector, bridge),
        client(bridge.url) as browser,
    ):
        await browser.send_frame()
        await browser.result()
        assert detector.metadata[0]["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("origin", "settings", "status"),
    [
        ("https://evil.example", {}, 403),
        ("null", {}, 403),
        ("http://localhost:1234", {}, 0),
        ("http://127.0.0.1", {}, 0),
        ("http://localhost:1234", {"allowed_origins": "https://a.example"}, 403),
        ("https://a.example", {"allowed_origins": "https://b.example, https://a.example"}, 0),
        ("https://evil.example", {"allowed_origins": "*"}, 0),
        (None, {"allowed_origins": "https://a.example"}, 0),
    ],
)
async def test_origins(origin: str | None, settings: dict[str, str], status: int) -> None:
    """A page of another origin is refused with 403 before it is a WebSocket."""
    async with fake_and_bridge(**settings) as (_, bridge):
        if status:
            with pytest.raises(InvalidStatus) as refused:
                async with client(bridge.url, origin=origin):
                    pass
            assert refused.value.response.status_code == status
            assert b"ALLOWED_ORIGINS" in refused.value.response.body
        else:
            async with client(bridge.url, origin=origin) as browser:
                await browser.send_frame()
                await browser.result()


async def test_a_page_over_plain_http_is_refused_where_a_proxy_ends_tls() -> None:
    """The header that says so is heeded."""
    async with fake_and_bridge() as (_, bridge):
        there: dict[str, Any] = {
            "additional_headers": {"X-Forwarded-Proto": "https"},
            "host": "127.0.0.1",
            "port": bridge.port,
        }
        with pytest.raises(InvalidStatus) as refused:
            async with client("ws://a.example/ws", origin="http://a.example", **there):
                pass
        assert refused.value.response.status_code == 403
        async with client("ws://a.example/ws", origin="https://a.example", **there) as page:
            await page.send_frame()
            await page.result()


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("https://a.example", "a.example", True),
        ("https://a.example", "a.example:443", True),
        ("https://a.example:8443", "a.example", False),
        ("http://a.example:8000", "a.example:8000", True),
        ("http://[::1]:3000", "a.example", True),
        ("http://localhost.evil.example", "a.example", False),
        ("file://", "a.example", False),
        ("http://[", "a.example", False),
        ("http://a.example:port", "a.example", False),
        ("https://a.example", None, False),
    ],
)
def test_same_origin_and_localhost(origin: str, host: str | None, allowed: bool) -> None:
    """Where no origins are set."""
    assert origin_allowed(origin, host, []) is allowed


@pytest.mark.parametrize(
    ("origin", "tls", "forwarded", "allowed"),
    [
        ("https://a.example", True, None, True),
        ("http://a.example", True, None, False),  # a page that anyone on the way may have changed
        ("http://a.example", False, None, True),
        ("https://a.example", False, None, True),  # a proxy ends TLS, and does not say so
        ("https://a.example", False, "https", True),
        ("http://a.example", False, "https", False),
        ("http://a.example", False, "WSS", False),
        ("https://a.example", False, "http", False),
        ("http://a.example", False, "ws", True),
        ("https://a.example", False, "https, http", True),  # the browser's own comes first
        ("http://a.example", True, "http", True),  # a proxy speaks TLS to the bridge only
        ("http://a.example", True, "gopher", False),
        ("http://localhost:3000", True, None, True),
        ("https://localhost:3000", False, "http", True),
    ],
)
def test_the_scheme_is_part_of_the_origin(
    origin: str, tls: bool, forwarded: str | None, allowed: bool
) -> None:
    """As far as it can be known behind a proxy that ends TLS."""
    scheme = scheme_of_request(forwarded, tls=tls)
    assert origin_allowed(origin, "a.example", [], scheme) is allowed


@given(st.text(), st.text(), st.lists(st.text()))
def test_no_header_breaks_the_doors(origin: str, host: str, allowed: list[str]) -> None:
    """Whatever a client sends."""
    origin_allowed(origin, host, allowed, scheme_of_request(host, tls=bool(allowed)))
    token_of_handshake(origin, allowed)
    assert not Tokens(["secret" * 3]).accept(origin)


def test_a_file_of_tokens_without_a_token_is_refused(tmp_path: Path) -> None:
    """By name."""
    path = tmp_path / "tokens"
    for content in (b"", b"# nothing\n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match="AUTH_TOKENS_FILE="):
            read_tokens(path, "AUTH_TOKENS_FILE")
