"""Every public docstring has an example, and every example runs."""

import asyncio
import doctest
import inspect
import pathlib
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import crowd_detector
import pytest
import structlog

from tests.servers import ROOT, serving

ADMIN_TOKEN = "of-whoever-runs-it"


@pytest.fixture
async def address(tmp_path: pathlib.Path) -> AsyncIterator[str]:
    tokens = tmp_path / "tokens"
    tokens.write_text(ADMIN_TOKEN)
    # Not to the standard output, where an example's answer is looked for.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    async with serving(admin_tokens_file=tokens) as running:
        yield running.address


def documented() -> Iterator[tuple[str, Any]]:
    """Return whatever is public: the package, its classes, their methods and properties."""
    yield "crowd_detector", crowd_detector
    for name in crowd_detector.__all__:
        thing = getattr(crowd_detector, name)
        if not inspect.isclass(thing):
            continue
        yield name, thing
        for member, value in vars(thing).items():
            if not member.startswith("_") and (
                inspect.isfunction(value) or isinstance(value, property | classmethod)
            ):
                yield f"{name}.{member}", value


def test_all_that_is_public_has_an_example() -> None:
    """A name without one is a name that nobody can try; a box's width needs none of its own."""
    without = [name for name, thing in documented() if ">>>" not in (inspect.getdoc(thing) or "")]
    assert without == ["Box.width", "Box.height"]


async def test_every_example_runs(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a real service."""
    monkeypatch.chdir(ROOT)
    names = {name: getattr(crowd_detector, name) for name in crowd_detector.__all__}
    names |= {
        "address": address,
        "admin_token": ADMIN_TOKEN,
        "asyncio": asyncio,
        "pathlib": pathlib,
        "datetime": __import__("datetime").datetime,
    }

    def run() -> list[str]:
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        for name, thing in documented():
            parser = doctest.DocTestParser()
            example = parser.get_doctest(inspect.getdoc(thing) or "", dict(names), name, None, None)
            runner.run(example, out=report.append)
        assert runner.tries > 50
        return report

    assert "".join(await asyncio.to_thread(run)) == ""
