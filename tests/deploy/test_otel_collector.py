"""The collector's configuration: sound as a file. No collector has run with it."""

import fnmatch

import yaml

from tests.deploy.files import DEPLOY

CONFIG = yaml.safe_load((DEPLOY / "otel-collector.yaml").read_text())


def test_every_part_is_there_and_in_use() -> None:
    """What a pipeline names is defined; what is defined is in a pipeline."""
    pipelines = CONFIG["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics", "logs"}
    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in pipelines.values() for name in pipeline[kind]}
        assert used == set(CONFIG[kind])
    for pipeline in pipelines.values():
        assert pipeline["processors"][0] == "memory_limiter"


def test_every_file_of_the_log_is_read_by_one_receiver() -> None:
    """The detector's, the bridge's, and those of its workers; not those that were rotated."""
    wanted = {
        "app.log": "crowd-detector",
        "app.bridge.log": "crowd-bridge",
        "app.bridge.3.log": "crowd-bridge",
        "app.log.1": None,
    }
    receivers = [each for name, each in CONFIG["receivers"].items() if name.startswith("filelog/")]
    for file, service in wanted.items():
        found = [
            receiver["resource"]["service.name"]
            for receiver in receivers
            for pattern in receiver["include"]
            if fnmatch.fnmatch(file, pattern.removeprefix("${env:LOGS_FOLDER}/"))
        ]
        assert found == ([service] if service else [])


def test_prometheus_is_told_where_to_look() -> None:
    """At the port that the collector opens."""
    endpoint = CONFIG["exporters"]["prometheus"]["endpoint"]
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    assert f"localhost:{endpoint.rpartition(':')[2]}" in text
