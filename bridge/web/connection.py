"""One connection: it answers its requests one after the other, and says what it is doing.

aiohttp's own loop runs a task for every request, for the sake of context variables. The bridge
leaves none set (tracing takes its own back), so the connection's own task does all of the work
(docs/decisions/0012).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.streams import StreamReader

from bridge.web.answers import SERVER_REJECTIONS
from bridge.web.eviction import ANSWERING, HEAD, LEAVING, LINGERING, RESTING, Phase
from bridge.web.intake import Intake
from bridge.web.plain import PlainPath
from bridge.web.protocol import HttpProtocol
from bridge.web.replies import Reply, rejected, reply_bytes
from bridge.web.responses import reject, rejection_bytes
from bridge.web.turns import PIECE_BYTES

if TYPE_CHECKING:
    from bridge.web.server import HttpServer

_LINGER_SECONDS = 10.0
"""How long to read on a body that was answered before its end. A socket that is closed with bytes
unread sends a reset, and then the client may never see the answer."""

_STRANGER_SECONDS = 5.0
"""How long a connection may rest between two requests if none was answered 200."""

_MALFORMED = rejection_bytes(SERVER_REJECTIONS["request_malformed"])


class Connection(HttpProtocol):
    """One connection. Its ``phase`` says what it is doing.

    Independent of the phase are: whether it has earned a 200, whether its input waits for a turn
    (``intake``), whether its client has said that no more requests follow, and whether its client
    reads what we write.
    """

    __slots__ = (
        "answered",
        "earned_200",
        "gone",
        "intake",
        "lingers",
        "plain",
        "rests_since",
        "said_all",
        "unread_since",
    )

    def __init__(self, server: HttpServer) -> None:
        super().__init__(server)
        self.intake = Intake(self, server.turns)
        self.plain = None if server.plain is None else PlainPath(self, server.plain)
        self.gone: asyncio.Future[None] = server.loop.create_future()
        """Done when nothing is left of the connection itself."""
        self.rests_since = server.loop.time()
        self.lingers = False
        self.answered = False
        self.earned_200 = False
        self.said_all = False
        """Whether the client has said that no more requests follow."""
        self.unread_since: float | None = None
        """Since when the client has left so much unread that nothing more is written."""

    @property
    def phase(self) -> Phase:
        """Return what it is doing."""
        if self.is_idle:
            return RESTING if self.head_began is None else HEAD
        if self in self.server.leaving:
            return LEAVING
        return LINGERING if self.lingers else ANSWERING

    # Its beginning and its end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to take requests."""
        super().connection_made(transport)
        if self.is_secure:  # else TLS reads on behind our back, a quarter of a megabyte
            cast("Any", transport).set_read_buffer_limits(high=PIECE_BYTES)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take note of the end."""
        try:
            if self.plain is not None:
                self.plain.end()
        finally:
            super().connection_lost(exc)
            self.intake.end()
            self.server.leaving.discard(self)
            if not self.gone.done():
                self.gone.set_result(None)

    def force_close(self) -> None:
        """Give no more answers."""
        self.leave()
        super().force_close()

    def leave(self) -> None:
        """Give up the place. The client has as long for the last answers as for any other ones."""
        if self.transport is not None:
            self.server.leaving.add(self)
            if self.unread_since is None:
                self.unread_since = self.server.loop.time()

    def abort(self) -> None:
        """Cut the connection, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # what asyncio asks for
        """Answer what was asked before the client said that it says no more, then close."""
        if self.is_idle and not self.queue:
            return None
        self.said_all = True
        return not self.is_secure and self.transport is not None  # TLS cannot stay half open

    def pause_writing(self) -> None:
        """Take note that the client does not read."""
        self.unread_since = self.server.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Take note that the client reads again; that buys no time for one that is to leave."""
        if self not in self.server.leaving:
            self.unread_since = None
        super().resume_writing()

    # What comes in

    def data_received(self, data: bytes) -> None:
        """Answer a plain request, parse anything else, or leave it to the intake."""
        if self.is_taken and self.plain is not None:
            self.plain.more(data)
        # aiohttp itself calls this with no data, to parse what it has put back.
        elif not data or (self.earned_200 and not self.intake.unparsed):
            if not self.takes(data):
                self.parse(data)
        else:
            self.intake.receive(self, data)

    def takes(self, data: bytes) -> bool:
        """Return whether the plain path has taken what came."""
        return self.plain is not None and self.is_at_rest and self.plain.take(data)

    def begin_plain(self) -> None:
        """Take note that the plain path has a request at hand."""
        self.is_taken = True
        self.head_began = None

    def end_plain(self) -> None:
        """Take note that it has none any more."""
        self.is_taken = False
        if self.gone.done():
            self.server.forget(self)

    def may_read_on(self) -> bool:
        """Return whether nothing that was read already has to wait for its turn."""
        return self.intake.may_read_on(self)

    def reject_head(self) -> None:
        """Answer 400 in place of reading more of a head, and close."""
        if self.transport is not None:
            self.server.note_unfinished()
            self.transport.write(_MALFORMED)
            self.force_close()

    # What goes out

    def write(self, data: bytes) -> None:
        """Send what is no answer yet."""
        if self.transport is not None:
            self.transport.write(data)

    def answer(self, reply: Reply | Exception) -> bool:
        """Send the reply to a plain request; return whether another request may follow."""
        if self.transport is None:
            return False
        if isinstance(reply, Exception):
            reply = rejected(self.server.rejection_of(self, 500, reply))
        ends = reply.close or self.closes_behind_answer or self.server.is_stopping
        if not self.transport.is_closing():
            self.transport.write(reply_bytes(reply, close=ends))
        self._note_answer(reply.status)
        if ends or not self._may_go_on():
            self.close()
            return False
        self._rest()
        return True

    async def start(self) -> None:
        """Answer one request after the other, until the connection is to be closed."""
        try:
            if self.queue or not self.server.is_closed:  # which may be before it begins
                while not self.is_cut and await self._answer(*await self.next_request()):
                    if not await self._goes_on():
                        break
        except asyncio.CancelledError:
            self.force_close()
            raise
        except ConnectionError:  # half an answer was sent
            self.force_close()
        self.leave()
        if not self.is_cut and self.transport is not None:
            self.transport.close()

    async def _answer(self, message: Any, body: StreamReader) -> bool:
        """Answer a request; return whether another one may follow."""
        response, gone = await self.respond(message, body)
        self._note_answer(response.status)
        if not body.is_eof():
            self.lingers = True
            await self._linger(body)
            self.lingers = False
        ends = not body.is_eof() or gone or self.closes_behind_answer or self.server.is_stopping
        return bool(response.keep_alive) and not ends

    async def _linger(self, body: StreamReader) -> None:
        """Read the rest of a body that was answered before its end."""
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while not body.is_eof() and not self.is_cut:
                    await body.readany()
        except (TimeoutError, web.RequestPayloadError):
            pass

    async def _goes_on(self) -> bool:
        """Prepare for another request; return whether one may follow."""
        if not self._may_go_on():
            return False
        self._rest()
        if self.queue:
            await asyncio.sleep(0)  # all others first: a client may have sent thousands at once
        return True

    def _note_answer(self, status: int) -> None:
        if not self.earned_200:
            self.earned_200 = self.server.proves and status == HTTPStatus.OK

    def _may_go_on(self) -> bool:
        """Return whether the client may send, or has sent, another request."""
        return not self.said_all or bool(self.queue) or self.owes

    def _rest(self) -> None:
        """Give the client some time for another request."""
        idle = self.server.limits.idle
        if not self.earned_200:
            idle = min(idle, _STRANGER_SECONDS)
        self.answered, self.rests_since = True, self.server.loop.time()
        self.waited = None
        self.close_if_idle(self.rests_since + idle)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer for what went wrong outside of the handler, without a word of the input."""
        rejection = self.server.rejection_of(request, status, exc)
        if request.writer.output_size > 0:  # half an answer is out: the connection must break
            raise ConnectionError(rejection.detail)
        return reject(rejection)

    # What others ask

    @property
    def is_stopping(self) -> bool:
        """Return whether the answer to the request at hand is the last one."""
        return self.server.is_stopping

    @property
    def owes(self) -> bool:
        """Return whether its request lacks some of the body, or has others behind it already."""
        return super().owes or (self.plain is not None and self.plain.owes)

    @property
    def remote(self) -> str | None:
        """Return the client's address, None when it is gone."""
        name = self.peername
        return name if name is None or isinstance(name, str) else name[0]

    def is_silent(self, since: float) -> bool:
        """Return whether its head began before that time, and we wait for the client alone."""
        return self.is_slow(since) and not self.intake.waits

    def is_unread(self, before: float) -> bool:
        """Return whether the client reads nothing since before that time."""
        return self.unread_since is not None and self.unread_since <= before
