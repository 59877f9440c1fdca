"""Flags that many commands share."""

from typing import Annotated

import typer

AsJson = Annotated[
    bool, typer.Option("--json", help="Write JSON lines, as is done where no terminal is.")
]
