"""The command-line reference, made from the commands themselves.

python -m crowd_detector.cli.reference > docs/command-line.md
"""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from typer.main import get_command

from crowd_detector.cli.app import DEBUG_VARIABLE, app
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.options import CONFIG, SETTINGS

_INTRODUCTION = """# `detector`: the command line

Made from the code by `python -m crowd_detector.cli.reference`; a test compares.

```sh
pip install 'crowd-detector[cli]'
```

On a terminal it writes tables; into a file or a pipe, and with `--json`, one JSON object a line. What is not
an answer (progress, sentences about what went wrong) goes to the standard error. `detector --version` says
which version it is, and `detector COMMAND --help` what a command can do.
"""

_PLACES = f"""## Where the service is

Each of these can be given as a flag, as a variable, or in the configuration file; the first of these that
speaks of it decides. The file is TOML, `crowd-detector/config.toml` in `$XDG_CONFIG_HOME` (`~/.config`),
or what `--config` or `{CONFIG.variable}` names; its paths start at its own folder.

```toml
server = "detector.example.com:50051"
token-file = "token"
tls-ca = "ca.pem"
```
"""

_ANSWERS = """## What is written

`detect` writes `path` and then either what was found, with the names of
[the contract](../protos/crowd/detector/v1/detector.proto), or `error` with its `reason`
([errors.md](errors.md)); `stream` writes `pts`, the seconds since the video's first frame, and the number of
the frame, from 1, as `frame_id`.

`--save` writes images in the format they came in, and videos as MP4 (H.264) without sound, with the times of
the original's frames. An image is written whole or not at all; a video is written in fragments of a second,
so that all but the last second can be watched whatever ends the program, and is an ordinary MP4 once the
program ends in good order.
What `walk.mkv` gives is called `walk-annotated.mp4`; what is live gives a file with date and time in its name.
Files of an earlier run are replaced, what is looked at never is; the folder that is saved to is left out where
folders are searched.

Videos are turned upright as their metadata say before they are sent. Frames go to a service on this machine as
raw pixels (NV12), and as JPEG to any other.
"""


def reference() -> str:
    """Return the whole page."""
    group: Any = get_command(app)
    commands = "\n".join(_command(name, command) for name, command in _all(group))
    parts = [_INTRODUCTION, commands, _ANSWERS, _PLACES, _settings(), _exit_codes()]
    return "\n".join(parts)


def _all(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Return every command by its full name, those of groups in the place of the group."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from _all(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def _command(name: str, command: Any) -> str:
    ours = {setting.parameter for setting in SETTINGS} | {CONFIG.parameter}
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [
        each
        for each in command.params
        if each.param_type_name == "option" and each.name not in ours and each.name != "help"
    ]
    usage = " ".join(
        ["detector", name, *(["[OPTIONS]"] if options else []), *map(_usage, arguments)]
    )
    rows = [(_metavar(each), each.help or "") for each in arguments]
    rows += [(_flag(each), _described(each)) for each in options]
    table = _table(("", ""), rows) if any(text for _, text in rows) else ""
    return f"## `{usage}`\n\n{_prose(command.help)}\n{table}"


def _prose(text: str) -> str:
    """Return a docstring as Markdown: what is marked as not to be wrapped is an example."""
    body, _, examples = text.partition("\b\n")
    lines = "\n".join(line.strip() for line in examples.strip().splitlines())
    return body.strip() + "\n" + (f"\n```sh\n{lines}\n```\n" if lines else "")


def _settings() -> str:
    rows = [
        (f"`--{setting.name}`", f"`{setting.variable}`", f"`{setting.name}`", setting.help)
        for setting in SETTINGS
    ]
    rows.append((f"`--{CONFIG.name}`", f"`{CONFIG.variable}`", "", CONFIG.help))
    return _table(("flag", "variable", "in the file", ""), rows)


def _exit_codes() -> str:
    rows = [(f"`{code.value}`", code.meaning) for code in ExitCode]
    return (
        "## Exit codes\n\n"
        + _table(("code", "when"), rows)
        + "\nWhat went wrong is said in one sentence on the standard error; "
        + f"`{DEBUG_VARIABLE}=1` shows where in the code.\n"
    )


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _usage(argument: Any) -> str:
    return _metavar(argument) if argument.required else f"[{_metavar(argument)}]"


def _metavar(argument: Any) -> str:
    return (argument.metavar or str(argument.name).upper()) + (
        "..." if argument.nargs == -1 else ""
    )


def _flag(option: Any) -> str:
    return f"`{option.opts[0]}{'' if option.is_flag else ' ' + option.metavar}`"


def _described(option: Any) -> str:
    if not option.default:
        return str(option.help)
    return f"{option.help} Default: {option.default}."


if __name__ == "__main__":
    sys.stdout.write(reference())
