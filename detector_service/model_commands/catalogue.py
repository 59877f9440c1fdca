"""What can be fetched by name: catalogue.toml, where an entry without a SHA-256 is none."""

import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Final, Self
from urllib.parse import unquote, urlsplit

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be fetched, and what it must hold.

    Attributes:
        url: where it lies; http or https.
        sha256: of its bytes, in lower-case hexadecimal.
    """

    url: str
    sha256: str

    @classmethod
    def of(cls, url: str, sha256: str) -> Self:
        """Check both.

        Raises:
            ValueError: one of them is not what it should be.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{url}: no address that begins with https:// or http://")
        if not _SHA256.fullmatch(sha256.lower()):
            raise ValueError(f"{sha256}: no SHA-256, which has 64 hexadecimal digits")
        source = cls(url, sha256.lower())
        if source.file_name in ("", ".", ".."):
            raise ValueError(f"{url}: the address ends with no file's name")
        return source

    @property
    def file_name(self) -> str:
        """The last part of its address, which holds no slash."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name


def known() -> dict[str, Source]:
    """Return what can be fetched by name."""
    text = files(__package__).joinpath("catalogue.toml").read_text("utf-8")
    return {name: Source.of(**entry) for name, entry in tomllib.loads(text).items()}
