"""``detector``: asks a running service from the command line; answers are JSON, one object a line.

Exit codes: 0; 1 where the service refused or could not be reached; 2 for wrong usage or an unreadable file.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import grpc
from crowd.detector.v1 import detector_pb2 as pb
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from crowd_detector.client import DetectorClient

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="detector", description=__doc__)
    parser.add_argument(
        "--server", default="localhost:50051", help="host:port (default: %(default)s)"
    )
    parser.add_argument("--token", default="", help="bearer token, where the service asks for one")
    commands = parser.add_subparsers(dest="command", required=True)
    detect = commands.add_parser("detect", help="look at images")
    detect.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    commands.add_parser("models", help="say which models serve")
    commands.add_parser("stats", help="say what the service has done")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except grpc.aio.AioRpcError as error:
        print(
            f"detector: {options.server}: {error.code().name}: {error.details()}", file=sys.stderr
        )
        return EXIT_REFUSED
    except OSError as error:
        print(f"detector: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_USAGE
    return 0


async def _run(options: argparse.Namespace) -> None:
    async with DetectorClient(options.server, token=options.token) as client:
        match options.command:
            case "detect":
                async for result in _results(client, options.images):
                    _print(result)
            case "models":
                _print(await client.model_info())
            case _:
                _print(await client.stats())


async def _results(client: DetectorClient, images: list[Path]) -> AsyncIterator[pb.FrameResult]:
    for path in images:
        result = await client.detect(path.read_bytes())
        result.frame.frame_id = str(path)
        yield result


def _print(message: Message) -> None:
    print(
        MessageToJson(
            message,
            indent=None,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
    )
