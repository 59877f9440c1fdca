"""``detector models``: which models serve, and what else an installed package adds (`COMMANDS`)."""

from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from crowd_detector.cli.flags import AsJson
from crowd_detector.cli.options import Connection, connected

#: Where packages name a `typer.Typer` whose commands are to be found here. The service names one for
#: the files of models; this package knows nothing of it.
COMMANDS: Final = "crowd_detector.models"
_DEFAULT: Final = "serving"


class _Group(TyperGroup):
    """Finds the commands of others when they are wanted; without any is meant the one that asks the service."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *(name for name in _others() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or _others().get(cmd_name)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_for_help = args and args[0] in ctx.help_option_names
        asks_for_command = args and self.get_command(ctx, args[0]) is not None
        if not (asks_for_help or asks_for_command or ctx.resilient_parsing):
            if args and not args[0].startswith("-"):
                ctx.fail(f"No such command '{args[0]}'")
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


@cache
def _others() -> dict[str, Any]:
    """Return the commands that other packages bring, by name."""
    found: dict[str, Any] = {}
    for point in entry_points(group=COMMANDS):
        group: Any = get_command(point.load())
        found |= group.commands
    return found


models: Final = typer.Typer(
    name="models",
    cls=_Group,
    help="Say which models serve, and work with the files of models.",
    rich_markup_mode=None,
)


@models.command(_DEFAULT)
@connected
def serving(connection: Connection, *, as_json: AsJson = False) -> None:
    """Say which models serve; `detector models` alone does the same."""
    from crowd_detector.cli import questions  # noqa: PLC0415

    questions.models(connection, as_json=as_json)


@models.command()
@connected
def reload(connection: Connection, *, as_json: AsJson = False) -> None:
    """Have the service load the files of its models anew; needs a token of its ADMIN_TOKENS_FILE.

    The new models take over between two frames. If they cannot serve, those from before do, and what is wrong with
    the new ones is said here (exit code 4).
    """
    from crowd_detector.cli import questions  # noqa: PLC0415

    questions.reload_models(connection, as_json=as_json)
