"""The standard input, output and error, which whoever starts a program can close."""

import os
import sys
from pathlib import Path
from typing import Final

_NOWHERE: Final = Path(os.devnull)


def open_missing() -> None:
    """Lead those that are closed nowhere, so that nothing else has to ask whether they are there."""
    if sys.stdin is None:
        sys.stdin = _NOWHERE.open(encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = _NOWHERE.open("w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = _NOWHERE.open("w", encoding="utf-8")
