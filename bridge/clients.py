"""Whose an address is, for limits that are counted by address; no I/O."""

import ipaddress
from typing import Final

#: Bits of an IPv6 address that tell one customer's network from another; the rest its owner chooses freely.
_NETWORK_BITS: Final = 64


def client_of(address: str) -> str:
    """Return what stands for the client at an address: the address, or its network where a client has a whole one.

    IPv4 within IPv6 is IPv4. Of IPv6 it is the /64, but for addresses of the own link, where every machine
    shares one. What is no address stands for itself.

    Args:
        address: as the socket gives it, without a port.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if parsed.is_link_local:
        return str(parsed)
    return str(ipaddress.IPv6Network((int(parsed), _NETWORK_BITS), strict=False))
