"""A real Prometheus, on a free port, that looks every second."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.deploy.files import DEPLOY, RULES_FILE
from tests.servers import until


class Prometheus:
    """Asks it."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self._url = f"http://{address}/api/v1"
        self._session = session

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an expression; it must be without errors and warnings."""
        answer = await self._ask("query", query=expression)
        assert answer["status"] == "success", (expression, answer)
        assert not answer.get("warnings"), (expression, answer)
        return list(answer["data"]["result"])

    async def value(self, expression: str) -> float:
        """Return the value of an expression that has one; 0 without."""
        found = await self.query(expression)
        return float(found[0]["value"][1]) if found else 0.0

    async def rules(self) -> list[dict[str, Any]]:
        """Return the rules, with what became of them."""
        groups = (await self._ask("rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def firing(self) -> dict[str, dict[str, Any]]:
        """Return the alerts that fire, by name."""
        alerts = (await self._ask("alerts"))["data"]["alerts"]
        return {each["labels"]["alertname"]: each for each in alerts if each["state"] == "firing"}

    async def critical(self) -> set[str]:
        """Return the names of those that fire and are critical; warnings may be of how fast this machine is."""
        firing = await self.firing()
        return {name for name, each in firing.items() if each["labels"]["severity"] == "critical"}

    async def _ask(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"{self._url}/{path}", params=parameters) as answer:
            return await answer.json()


@asynccontextmanager
async def prometheus(
    folder: Path, detectors: Sequence[str], bridges: Sequence[str]
) -> AsyncIterator[Prometheus]:
    """Run it with the files of deploy/, but for the addresses, and for time: a second in place of all waiting.

    Args:
        folder: for its files.
        detectors: whose figures it takes: host and port.
        bridges: likewise.
    """
    rules = yaml.safe_load(RULES_FILE.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["for"] = "1s"
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = {"crowd-detector": list(detectors), "crowd-bridge": list(bridges)}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        await until(lambda: process.returncode is not None or "Server is ready" in log.read_text())
        port = re.search(r"Listening on.*address=127\.0\.0\.1:(\d+)", log.read_text())
        assert port is not None, log.read_text()
        async with aiohttp.ClientSession() as session:
            yield Prometheus(f"127.0.0.1:{port[1]}", session)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
