"""Addresses as text."""

import ipaddress


def joined(host: str, port: int) -> str:
    """Return host and port as one; an IPv6 address gets its brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_local(host: str) -> bool:
    """Return whether what listens there is reached at localhost."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_unspecified or host == "127.0.0.1"
