"""``detector models``, ``stats`` and ``health``: one question, one answer."""

from crowd_detector.cli.connecting import client_of
from crowd_detector.cli.exit_codes import ExitCode
from crowd_detector.cli.failures import Failure
from crowd_detector.cli.options import Connection
from crowd_detector.cli.output import Output, plain
from crowd_detector.cli.tables import models_table, stats_table
from crowd_detector.results import Models


def models(connection: Connection, *, as_json: bool) -> None:
    """Say which models serve."""
    with client_of(connection) as client:
        _show(client.models(), as_json=as_json)


def reload_models(connection: Connection, *, as_json: bool) -> None:
    """Have the models loaded anew, and say which serve."""
    with client_of(connection) as client:
        _show(client.reload_models(), as_json=as_json)


def _show(answer: Models, *, as_json: bool) -> None:
    output = Output(as_json=as_json)
    if output.for_people:
        output.show(models_table(answer))
    else:
        output.line(plain(answer))


def stats(connection: Connection, *, as_json: bool) -> None:
    """Say what the service has done."""
    output = Output(as_json=as_json)
    with client_of(connection) as client:
        answer = client.stats()
    if output.for_people:
        output.show(stats_table(answer))
    else:
        output.line(plain(answer))


def health(connection: Connection, *, as_json: bool) -> None:
    """Say whether the service serves.

    Raises:
        Failure: it does not, though something answers.
    """
    output = Output(as_json=as_json)
    with client_of(connection) as client:
        serving = client.health()
    if output.for_people:
        output.tell(f"{connection.server} is {'serving' if serving else 'not serving'}")
    else:
        output.line({"server": connection.server, "serving": serving})
    if not serving:
        raise Failure(
            f"{connection.server} answers, but does not serve: its models are being loaded, or it goes down",
            ExitCode.UNAVAILABLE,
        )
