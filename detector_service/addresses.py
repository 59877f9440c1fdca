"""Addresses as text."""

import ipaddress


def joined(host: str, port: int) -> str:
    """Return host and port as one; an IPv6 address gets its brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_anywhere(host: str) -> bool:
    """Return whether it stands for all addresses of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_local(host: str) -> bool:
    """Return whether what listens there is reached at localhost."""
    return is_anywhere(host) or host in ("127.0.0.1", "localhost")
