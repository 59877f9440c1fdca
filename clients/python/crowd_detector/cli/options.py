"""Where the service is and how to reach it: from flags, then variables, then the configuration file."""

import functools
import inspect
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, ParamSpec

import typer

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure, of_file

_PREFIX: Final = "DETECTOR_"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})

_Parameters = ParamSpec("_Parameters")


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set in each of the three places."""

    name: str  # as in the configuration file; the flag is --name
    help: str
    kind: type = str
    metavar: str = "TEXT"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return _PREFIX + self.name.upper().replace("-", "_")

    @property
    def parameter(self) -> str:
        """The name of the command's parameter."""
        return self.name.replace("-", "_")


SETTINGS: Final = (
    Setting("server", "The service. Default: localhost:50051.", str, "HOST:PORT"),
    Setting("token", "The token, where the service asks for one. Others can read it in the list of "
        "processes: better a variable or --token-file."),
    Setting("token-file", "A file that holds the token.", Path, "FILE"),
    Setting("tls", "Speak TLS; the other --tls flags imply it, unless --no-tls is given.", bool),
    Setting("tls-ca", "The authority (PEM) that the service's certificate is from.", Path, "FILE"),
    Setting("tls-cert", "Your certificate (PEM), where the service asks for one.", Path, "FILE"),
    Setting("tls-key", "Its key (PEM).", Path, "FILE"),
    Setting("tls-server-name", "The name in the service's certificate, if not that of the address."),
)  # fmt: skip
#: Where most of these can be said for good.
CONFIG: Final = Setting(
    "config",
    "The configuration file (TOML). Default: ~/.config/crowd-detector/config.toml.",
    Path,
    "FILE",
)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the service is and how to reach it."""

    server: str = "localhost:50051"
    token: str = ""
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_server_name: str = ""


def connected(
    command: Callable[Concatenate[Connection, _Parameters], None],
) -> Callable[..., None]:
    """Give a command the flags of `SETTINGS`, and what they and the other two places say."""
    own = list(inspect.signature(command).parameters.values())[1:]
    flags = [_flag(setting) for setting in (*SETTINGS, CONFIG)]

    @functools.wraps(command)
    def run(*args: _Parameters.args, **arguments: _Parameters.kwargs) -> None:
        given = {setting.name: arguments.pop(setting.parameter) for setting in SETTINGS}
        config = arguments.pop(CONFIG.parameter)
        path = config if isinstance(config, Path) else None
        command(connection(given, os.environ, path), *args, **arguments)

    parameters = [*own, *flags]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def connection(
    flags: Mapping[str, Any], environment: Mapping[str, str], config: Path | None
) -> Connection:
    """Return what the three places say together.

    Raises:
        Failure: a value, or the configuration file, is not what it should be.
    """
    layers = [
        {name: value for name, value in flags.items() if value is not None},
        from_environment(environment),
        _config_layer(environment, config),
    ]
    try:
        return resolve(layers)
    except OSError as error:
        raise Failure(of_file(error), ExitCode.USAGE) from error


def resolve(layers: list[dict[str, Any]]) -> Connection:
    """Return what the layers say, the first that speaks of a setting deciding.

    A token and a token's file are one setting: the nearer of the two applies.

    Raises:
        Failure: one layer gives a token and a token's file.
        OSError: the token's file cannot be read.
    """
    effective: dict[str, Any] = {}
    for layer in reversed(layers):
        if "token" in layer and "token-file" in layer:
            raise Failure(
                "a token and a token file are given in one place; give one", ExitCode.USAGE
            )
        if "token" in layer or "token-file" in layer:
            effective.pop("token", None)
            effective.pop("token-file", None)
        effective |= layer
    if (file := effective.pop("token-file", None)) is not None:
        effective["token"] = _token(file)
    effective.setdefault("tls", any(name.startswith("tls-") for name in effective))
    return Connection(**{name.replace("-", "_"): value for name, value in effective.items()})


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that variables give; an empty one gives none.

    Raises:
        Failure: a switch is neither on nor off.
    """
    return {
        setting.name: _from_text(setting, text)
        for setting in SETTINGS
        if (text := environment.get(setting.variable))
    }


def from_config(text: str, path: Path) -> dict[str, Any]:
    """Return the settings that a configuration file gives; its paths start at its folder.

    Raises:
        Failure: it is no TOML, or says what cannot be set, or in the wrong type.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Failure(f"{path} is not TOML: {error}", ExitCode.USAGE) from error
    known = {setting.name: setting for setting in SETTINGS}
    layer: dict[str, Any] = {}
    for name, value in content.items():
        if name not in known:
            raise Failure(
                f"{path}: there is no setting {name!r}; there are {', '.join(known)}",
                ExitCode.USAGE,
            )
        kind = known[name].kind
        if not isinstance(value, bool if kind is bool else str):
            raise Failure(
                f"{path}: {name} must be {'true or false' if kind is bool else 'text in quotes'}",
                ExitCode.USAGE,
            )
        layer[name] = path.parent / _expanded(str(value)) if kind is Path else value
    return layer


def default_config(environment: Mapping[str, str]) -> Path:
    """Return where the configuration file lies, if there is one."""
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return _expanded(base) / "crowd-detector" / "config.toml"


def _config_layer(environment: Mapping[str, str], config: Path | None) -> dict[str, Any]:
    named = config or (environment.get(CONFIG.variable) or None)
    path = _expanded(str(named)) if named is not None else default_config(environment)
    try:
        return from_config(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        if named is None:
            return {}
        raise Failure(f"{path}: there is no such configuration file", ExitCode.USAGE) from None
    except UnicodeDecodeError:
        raise Failure(f"{path} is not TOML: it is not UTF-8 text", ExitCode.USAGE) from None
    except OSError as error:
        raise Failure(of_file(error), ExitCode.USAGE) from error


def _from_text(setting: Setting, text: str) -> Any:
    if setting.kind is not bool:
        return _expanded(text) if setting.kind is Path else text
    if text.lower() not in _TRUE | _FALSE:
        raise Failure(f"{setting.variable}={text}: it must be 1 or 0", ExitCode.USAGE)
    return text.lower() in _TRUE


def _token(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise Failure(f"{file} holds no token: it is not UTF-8 text", ExitCode.USAGE) from None


def _expanded(path: str) -> Path:
    """Return a path with the home folder for its ~; as it is where nobody knows that folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _flag(setting: Setting) -> inspect.Parameter:
    option = typer.Option(
        f"--{setting.name}/--no-{setting.name}" if setting.kind is bool else f"--{setting.name}",
        help=f"{setting.help} [{setting.variable}]",
        metavar=None if setting.kind is bool else setting.metavar,
        show_default=False,
    )
    return inspect.Parameter(
        setting.parameter,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[setting.kind | None, option],
    )
