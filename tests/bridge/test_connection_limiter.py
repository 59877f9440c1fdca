"""Counting connections, all and of one client."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.connection_limiter import ConnectionLimiter


@given(st.lists(st.integers(-4, 3)), st.integers(1, 6), st.integers(0, 3))
def test_never_more_than_may_stay(orders: list[int], most: int, most_per_client: int) -> None:
    """Over all, and of each; nobody is kept out who is not too many, and nobody is remembered who left."""
    limiter, inside = ConnectionLimiter(most, most_per_client), list[str]()
    for order in orders:
        if order >= 0:
            client = str(order)
            too_many = len(inside) >= most or (0 < most_per_client <= inside.count(client))
            assert limiter.enter(client) is not too_many
            inside += [client] * (not too_many)
        elif inside:
            limiter.leave(inside.pop(order % len(inside)))
        assert limiter.count == len(inside)
    assert limiter._by_client == {client: inside.count(client) for client in inside}
