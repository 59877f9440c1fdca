"""What a video source is called: a file, a camera, an address, the screen, standard input."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure

STANDARD_INPUT: Final = "-"
#: FFmpeg's word for a file, without which it takes what stands before a colon for a protocol.
FILE: Final = "file:"
_PIPE: Final = "pipe:0"
_CAMERA: Final = re.compile(r"(?:camera:|/dev/video)?(\d{1,3})")
_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
#: What comes over these may be a recording; whether it is, its length says.
_MAYBE_RECORDED: Final = frozenset({"http", "https", "file", "ftp"})


@dataclass(frozen=True, slots=True)
class Source:
    """Where a video comes from, in the words of FFmpeg."""

    name: str  # short; for the camera's name and for file names
    url: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    live: bool = False  # it does not wait for whoever reads it, and has no end of its own
    maybe_live: bool = False  # live, unless it turns out to have a length

    @property
    def shown(self) -> str:
        """What sentences call it: as it was given, without a password."""
        if self.url == _PIPE:
            return "standard input"
        return re.sub(r"//[^/]*@", "//", self.url.removeprefix(FILE))


def parse(text: str, environment: Mapping[str, str], platform: str = sys.platform) -> Source:
    """Return the source that a name means.

    Raises:
        Failure: there is no such file, or no such kind of source on this system.
    """
    if not text:
        raise Failure("an empty name is no source", ExitCode.USAGE)
    if camera := _CAMERA.fullmatch(text):
        return _camera(camera[1], platform)
    if text == "screen":
        return _screen(environment, platform)
    if text == STANDARD_INPUT:
        return Source("standard-input", _PIPE)
    if address := _ADDRESS.match(text):
        return _address(text, address[1].lower())
    if Path(text).is_dir() or not Path(text).exists():
        what = "a folder; `detector detect` looks at those" if Path(text).is_dir() else "not there"
        raise Failure(
            f"{text} is {what}; a source is a video file, a camera (0), an address (rtsp://...), "
            "screen or - for standard input",
            ExitCode.USAGE,
        )
    return Source(Path(text).stem, FILE + text)


def _camera(number: str, platform: str) -> Source:
    name = f"camera{number}"
    if platform.startswith("linux"):
        return Source(name, f"/dev/video{number}", "video4linux2", live=True)
    if platform == "darwin":
        return Source(name, f"{number}:none", "avfoundation", {"framerate": "30"}, live=True)
    raise Failure(
        f"cameras are not supported on this system ({platform}); send the camera as RTSP",
        ExitCode.USAGE,
    )


def _screen(environment: Mapping[str, str], platform: str) -> Source:
    if platform == "darwin":
        return Source("screen", "Capture screen 0:none", "avfoundation", live=True)
    if platform == "win32":
        return Source("screen", "desktop", "gdigrab", live=True)
    if display := environment.get("DISPLAY"):
        return Source("screen", display, "x11grab", {"framerate": "15"}, live=True)
    raise Failure(
        "the screen can be captured under X11 only, and DISPLAY is not set", ExitCode.USAGE
    )


def _address(text: str, scheme: str) -> Source:
    host = re.sub(r"^.*@", "", text.partition("://")[2])  # without a name and a password
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", host).strip("-.")[:60] or scheme
    # Over UDP, packets that are lost leave grey smears in which nobody is found.
    options = {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
    maybe = scheme in _MAYBE_RECORDED
    return Source(name, text, None, options, live=not maybe, maybe_live=maybe)
