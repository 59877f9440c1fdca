"""The end of a request."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.request_end import RequestEnd

PIECES = st.lists(st.text("\r\nab", max_size=6).map(str.encode), max_size=10)


@given(PIECES)
def test_the_end_is_found_however_it_is_cut(pieces: list[bytes]) -> None:
    """As in one piece; nothing is lost."""
    whole = b"".join(pieces)
    at = whole.find(b"\r\n\r\n")
    end, request, rest = RequestEnd(), b"", b""
    for piece in pieces:
        if rest or request.endswith(b"\r\n\r\n"):
            rest += piece
            continue
        more, rest = end.split(piece)
        request += more
    assert (request, rest) == ((whole, b"") if at < 0 else (whole[: at + 4], whole[at + 4 :]))
