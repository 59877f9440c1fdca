"""Whose an address is."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clients import client_of

IPV6 = st.ip_addresses(v=6).filter(
    lambda each: (
        isinstance(each, ipaddress.IPv6Address)
        and not each.is_link_local
        and each.ipv4_mapped is None
    )
)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::1", "::/64"),
        ("", ""),
        ("/run/socket", "/run/socket"),
    ],
)
def test_whose_it_is(address: str, client: str) -> None:
    """A network of IPv6, an address of IPv4."""
    assert client_of(address) == client


@given(st.ip_addresses(v=4))
def test_ipv4_is_the_same_however_it_is_written(address: ipaddress.IPv4Address) -> None:
    """A socket of both families gives it within IPv6."""
    assert client_of(f"::ffff:{address}") == client_of(str(address)) == str(address)


@given(IPV6, IPV6, st.integers(0, 2**64 - 1))
def test_a_network_is_one_client(
    one: ipaddress.IPv6Address, other: ipaddress.IPv6Address, host: int
) -> None:
    """And another network another."""
    neighbour = ipaddress.IPv6Address(int(one) >> 64 << 64 | host)
    if neighbour.ipv4_mapped is None:
        assert client_of(str(neighbour)) == client_of(str(one))
    same = int(one) >> 64 == int(other) >> 64
    assert (client_of(str(one)) == client_of(str(other))) is same


@given(st.text())
def test_any_text_stands_for_someone(text: str) -> None:
    """Nothing is raised."""
    assert isinstance(client_of(text), str)
