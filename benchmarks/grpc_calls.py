"""gRPC calls that cost their process little: one asyncio connection, HTTP/2, no library.

A frame's bytes go from where they lie to the kernel, uncopied, in one system call if there is room.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, Self

from benchmarks.http2 import Ended, Http2Error, Message, Piece, Session, request

_READ: Final = 64 * 1024
_MOST_PIECES: Final = 1024  # of one system call: IOV_MAX


class Call:
    """A call of a connection."""

    def __init__(self, connection: "Connection", stream: int) -> None:
        self._connection: Final = connection
        self._stream: Final = stream
        self._answers: Final[deque[bytes]] = deque()
        self._ended: Ended | None = None
        self._news: asyncio.Future[None] | None = None

    async def send(self, message: bytes, *, last: bool = False) -> None:
        """Send a message; return once the kernel has all of it.

        Args:
            message: as `http2.message` gives it.
            last: whether the call's messages end with this one.

        Raises:
            Http2Error: the call or the connection has ended.
        """
        await self._connection.send(self, self._stream, message, last=last)

    async def receive(self) -> bytes:
        """Return the next answer.

        Raises:
            Http2Error: the call or the connection has ended.
        """
        while not self._answers:
            self.refuse_ended()
            await self._wait()
        return self._answers.popleft()

    async def only_answer(self) -> bytes:
        """Return the answer of a call that has one, once its status is known.

        Raises:
            Http2Error: the status is not OK, or the connection has ended.
        """
        while self._ended is None:
            await self._wait()
        if not self._ended.fine or len(self._answers) != 1:
            raise Http2Error(f"{self._ended.why}, after {len(self._answers)} answers")
        return self._answers.popleft()

    def refuse_ended(self) -> None:
        """See that it goes on.

        Raises:
            Http2Error: it does not.
        """
        if self._ended is not None:
            raise Http2Error(self._ended.why)

    @property
    def ended(self) -> bool:
        """Whether the server has ended it."""
        return self._ended is not None

    def take(self, event: Message | Ended) -> None:
        """Take in what the server said."""
        if isinstance(event, Message):
            self._answers.append(event.data)
        else:
            self._ended = event
        _wake(self._news)

    async def _wait(self) -> None:
        self._news = asyncio.get_running_loop().create_future()
        await self._news


class Connection:
    """A connection to a server, and its calls."""

    def __init__(self, connected: socket.socket, authority: str) -> None:
        """Greet the server.

        Args:
            connected: it closes it.
            authority: the server's name, as it is told.
        """
        self._socket: Final = connected
        self._authority: Final = authority
        self._loop: Final = asyncio.get_running_loop()
        self._session: Final = Session()
        self._calls: Final[dict[int, Call]] = {}
        self._headers: Final[dict[str, bytes]] = {}
        self._unsent: Final[deque[Piece]] = deque()
        self._watches_room = False
        self._failure: str | None = None
        self._turn: Final = asyncio.Lock()  # messages go one after the other, each as a whole
        self._news: asyncio.Future[None] | None = None
        self._loop.add_reader(connected, self._read)
        self._write([self._session.replies()])

    @classmethod
    async def connect(cls, address: str) -> Self:
        """Connect, and wait for the server's greeting.

        Args:
            address: host:port.

        Raises:
            Http2Error: there is no such server.
        """
        host, _, port = address.rpartition(":")
        connected = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connected.setblocking(False)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(connected, (host, int(port)))
            connection = cls(connected, address)
        except OSError as error:
            connected.close()
            raise Http2Error(f"{address}: {error}") from error
        except BaseException:
            connected.close()
            raise
        try:
            while not connection._session.greeted:
                connection._refuse_failed()
                await connection._wait()
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def waits(self) -> bool:
        """Whether a message waits for room."""
        return self._news is not None and not self._news.done()

    @property
    def unsent(self) -> int:
        """The bytes that the kernel had no room for."""
        return sum(len(piece) for piece in self._unsent)

    def call(self, path: str) -> Call:
        """Begin a call; the server learns of it with the first message.

        Raises:
            Http2Error: the connection has ended, or has no room for another call.
        """
        self._refuse_failed()
        if path not in self._headers:
            self._headers[path] = request(path, self._authority)
        stream = self._session.open(self._headers[path])
        call = self._calls[stream] = Call(self, stream)
        return call

    async def send(self, call: Call, stream: int, message: bytes, *, last: bool) -> None:
        """See Call."""
        async with self._turn:
            rest = memoryview(message)
            while rest or self._unsent:
                self._refuse_failed()
                if rest and call.ended:
                    self._session.reset(stream)
                    self._write([self._session.replies()])
                    call.refuse_ended()
                taken = 0
                if rest and not self._unsent:
                    pieces, taken = self._session.data(stream, rest, last=last)
                    rest = rest[taken:]
                    if replies := self._session.replies():
                        pieces.insert(0, replies)
                    self._write(pieces)
                if not taken and self._failure is None:
                    await self._wait()
            self._refuse_failed()

    def close(self) -> None:
        """Leave, without waiting for anything."""
        self._fail("the connection was closed here")
        self._socket.close()

    def _read(self) -> None:
        try:
            received = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(f"the connection broke: {error}")
            return
        if not received:
            self._fail("the server closed the connection")
            return
        try:
            for event in self._session.receive(received):
                if (call := self._calls.get(event.stream)) is not None:
                    call.take(event)
                    if isinstance(event, Ended):
                        del self._calls[event.stream]
        except Http2Error as error:
            self._fail(str(error))
            return
        if replies := self._session.replies():
            self._write([replies])
        _wake(self._news)

    def _write(self, pieces: Iterable[Piece]) -> None:
        if self._failure is None:
            self._unsent.extend(pieces)
            if not self._watches_room:
                self._flush()

    def _flush(self) -> None:
        """Hand the kernel what it has room for."""
        unsent = self._unsent
        while unsent:
            try:
                sent = self._socket.sendmsg(islice(unsent, _MOST_PIECES))
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                unsent.clear()
                self._read()  # what the server said before it left tells more
                self._fail(f"the connection broke: {error}")
                return
            while unsent and sent >= len(unsent[0]):
                sent -= len(unsent.popleft())
            if sent:
                unsent[0] = memoryview(unsent[0])[sent:]
        if bool(unsent) != self._watches_room:
            self._watches_room = bool(unsent)
            if unsent:
                self._loop.add_writer(self._socket, self._flush)
            else:
                self._loop.remove_writer(self._socket)
                _wake(self._news)

    def _fail(self, why: str) -> None:
        if self._failure is not None:
            return
        self._failure = why
        self._unsent.clear()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        for stream, call in self._calls.items():
            call.take(Ended(stream, False, why))
        self._calls.clear()
        _wake(self._news)

    def _refuse_failed(self) -> None:
        if self._failure is not None:
            raise Http2Error(self._failure)

    async def _wait(self) -> None:
        self._news = self._loop.create_future()
        await self._news


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
