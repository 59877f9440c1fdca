"""Bytes from a WebSocket to a gRPC stream and back, and nothing else: what the bridge's two libraries cost alone.

There are no limits, no buffers, no checks, no second detector, and one subprotocol. The address of the detector
is read from DETECTOR_ADDRESS.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any

import grpc
from websockets.asyncio.server import ServerConnection, serve

_METHOD = "/crowd.detector.v1.DetectorService/StreamDetections"


async def _main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(os.environ["DETECTOR_ADDRESS"], options) as channel:

        async def forward(websocket: ServerConnection) -> None:
            await websocket.send("{}")  # clients wait for a first message
            call: Any = channel.stream_stream(_METHOD)()

            async def answer() -> None:
                while (message := await call.read()) is not grpc.aio.EOF:
                    await websocket.send(message)

            answering = asyncio.create_task(answer())
            try:
                async for message in websocket:
                    await call.write(message)
            finally:
                call.cancel()
                answering.cancel()

        async with serve(
            forward, "127.0.0.1", 0, compression=None, max_size=None, max_queue=(2, 0)
        ) as server:
            port = server.sockets[0].getsockname()[1]
            record = {"event": "bare.serving", "address": f"127.0.0.1:{port}"}
            print(json.dumps(record), file=sys.stderr, flush=True)
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(_main())
