"""Pickles as an attacker writes them: without PyTorch, and with code inside."""

import os
import pickle
import zipfile
from pathlib import Path


def archive(path: Path, content: object) -> Path:
    """Write a pickle as PyTorch does."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights/data.pkl", pickle.dumps(content, protocol=2))
        file.writestr("weights/byteorder", "little")
        file.writestr("weights/version", "3\n")
    return path


class Planted:
    """Runs a command when it is unpickled."""

    def __init__(self, leaves: Path) -> None:
        self.leaves = leaves

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.leaves}",)
