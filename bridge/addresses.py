"""Addresses as text: what is listened on, and where that is reached from this machine."""

import ipaddress


def joined(host: str, port: int) -> str:
    """Return host and port as one; an IPv6 address gets its brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_anywhere(host: str) -> bool:
    """Return whether a process that listens there is reached at every address of its machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def reached_at(host: str) -> str:
    """Return the host at which a process of this machine reaches what listens there."""
    if not is_anywhere(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"
