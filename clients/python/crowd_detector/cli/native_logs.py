"""Keeps what libraries in C write on the standard error from between our sentences."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden() -> Iterator[None]:
    """Lead file descriptor 2, which gRPC and FFmpeg log to, nowhere; `sys.stderr` stays what it is.

    gRPC's GRPC_VERBOSITY would do, but is read when it is imported, which is before anything of ours runs.
    """
    ours, before = os.dup(2), sys.stderr
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    with os.fdopen(ours, "w", 1, encoding=before.encoding, errors=before.errors) as stderr:
        sys.stderr = stderr
        try:
            yield
        finally:
            os.dup2(ours, 2)
            sys.stderr = before
