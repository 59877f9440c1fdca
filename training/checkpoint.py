"""All that a run needs to go on, in one file that is whole at any time."""

from pathlib import Path
from typing import Any

import torch

from training.errors import TrainingError


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state; until it is whole, the one before it stays."""
    half_written = path.with_suffix(".part")
    torch.save(state, half_written)
    half_written.replace(path)


def load(path: Path) -> dict[str, Any] | None:
    """Return the state, or None where there is none.

    Raises:
        TrainingError: it is damaged.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged archive or pickle brings about
        raise TrainingError(
            f"{path}: damaged ({type(error).__name__}); copy it again, or remove it to begin anew"
        ) from error
    return state
