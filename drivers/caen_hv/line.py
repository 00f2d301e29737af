"""The one owner of the wire to a supply: who may ask next, one exchange at a time, and what to do when a reply is lost.

A reply belongs to a request by order alone, so nothing is believed after a reply that was late, lost, doubled or
garbled: the line is drained until it is quiet, and BDSNUM and then BDNAME must answer with what they answered before.
Two different questions in that order, so that no late reply to an earlier check can pass for the answer to this one.
An order to switch off does not wait for that: it goes out between two questions of the check, its reply is drained like
everything else, and it is sent again in its turn. So it is on the wire one deadline after it was asked for, at most.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum

from drivers.caen_hv.exchange import Wire
from drivers.caen_hv.protocol import Reply, Request
from drivers.errors import DriverError, LinkError, LinkTimeout, ProtocolError
from drivers.link import Link

log = logging.getLogger(__name__)

RECENT = 16  # exchanges after which a reply cannot come a second time any more
ASKED = 3  # boards that are asked whether the line is in step: the one in question, and two more if it is silent
TRIES = 2  # checks after which a line that answers out of step is given up


class Priority(IntEnum):
    """Who goes first. Between two exchanges the most urgent request is sent; equals keep their order."""

    OFF = 0
    CLOSE = 1
    PUT = 2
    FAST = 3
    SLOW = 4


class LostReply(LinkTimeout):
    """The reply to one request did not come or made no sense; the line is in step again."""


class BoardSilent(LinkTimeout):
    """One board does not answer, while others on the line do (or none was known yet)."""


@dataclass(order=True, slots=True)
class _Job:
    """A request in the queue. `take` looks at the reply, `still` is asked just before sending; both raise to refuse."""

    priority: Priority
    number: int
    request: Request | None = field(compare=False)  # None = close
    take: Callable[[Reply], None] = field(compare=False)
    still: Callable[[], None] = field(compare=False)
    form: object = field(compare=False)
    done: "asyncio.Future[None]" = field(compare=False)
    repeated: bool = field(default=False, compare=False)

    def looks_like(self, request: Request | None, form: object) -> bool:
        """Tell whether the answer to another request could pass for the one to this."""
        if self.form is None or self.request is None or request is None:
            return False
        return self.form == form and self.request.board == request.board

    def succeed(self) -> None:
        """Tell who asked, if he still waits."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: DriverError) -> None:
        """Tell who asked why not, if he still waits."""
        if not self.done.done():
            self.done.set_exception(error)


class Line:
    """Requests in the order of their urgency over one link, one outstanding at a time.

    Args:
        link: closed; nobody else may use it.
        timeout: s that one exchange may take.

    Attributes:
        identities: what BDSNUM and BDNAME of a board say; set by who asked them, used to check the line.
        wire: what its exchanges counted and kept.
    """

    def __init__(self, link: Link, timeout: float) -> None:
        self.link = link
        self.wire = Wire(link, timeout)
        self.identities: dict[int, tuple[str, str]] = {}
        self._jobs: asyncio.PriorityQueue[_Job] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._worker: asyncio.Task[None] | None = None
        self._recent: deque[tuple[Request, object]] = deque(maxlen=RECENT)
        self._offs: list[_Job] = []  # orders to switch off that wait and were not sent yet, nor out of step
        self._doubtful: _Job | None = None  # its reply has come and looks like that to a question before
        self._why = "not open"

    @property
    def is_open(self) -> bool:
        """Tell whether requests are taken."""
        return self._worker is not None and not self._worker.done() and not self._why

    async def open(self, timeout: float) -> None:
        """Connect. The first request waits until nothing more comes of what an earlier owner asked.

        Raises:
            LinkError: no connection.
        """
        if self.is_open:
            raise LinkError(f"{self.link.address}: already open")
        if self._worker is not None:
            await asyncio.wait([self._worker])  # it may still be closing the link
        await self.link.open(timeout)
        self._jobs = asyncio.PriorityQueue()
        self._recent.clear()
        self._doubtful = None
        self._why = ""
        self._worker = asyncio.create_task(self._work())

    async def ask(
        self,
        request: Request,
        priority: Priority,
        take: Callable[[Reply], None] = lambda reply: None,
        still: Callable[[], None] = lambda: None,
        form: object = None,
    ) -> None:
        """Send a request when its turn has come and hand the reply to `take`.

        A question (MON) whose reply was lost is asked once more; an order (SET) never.

        Args:
            request: what to send.
            priority: its urgency.
            take: gets the reply; a ProtocolError that it raises means that this cannot be the answer.
            still: called just before sending; what it raises is raised here and nothing is sent.
            form: what the answer looks like. One that looks like the answer to another question of late is believed
                when the next exchange shows that the line is in step: an answer that came twice, however late, cannot
                pass for another. Where nothing else is in the queue, BDSNUM is asked to see that.

        Raises:
            ErrorReply: the unit's own error. LostReply, BoardSilent: no reply; the line goes on.
            LinkError: the link is closed now.
        """
        if not self.is_open:
            raise LinkError(f"{self.link.address}: {self._why or 'not open'}")
        job = _Job(priority, next(self._numbers), request, take, still, form, asyncio.Future())
        if priority is Priority.OFF and request.setting:
            self._offs.append(job)
        self._jobs.put_nowait(job)
        try:
            await job.done
        finally:
            if job in self._offs:
                self._offs.remove(job)

    async def close(self) -> None:
        """Let the outstanding exchange end, send what is queued to switch off, drop the rest, and close the link."""
        if self.is_open:
            self._why = "closed"
            job = _Job(Priority.CLOSE, next(self._numbers), None, _ignore, _nothing, None, asyncio.Future())
            self._jobs.put_nowait(job)
        try:
            if self._worker is not None:
                await asyncio.wait([self._worker])
        finally:
            if self._worker is not None:
                self._worker.cancel()
            await self.link.close()

    async def _work(self) -> None:
        """Do the jobs, one after another, until closed or until the link fails."""
        try:
            await self.wire.drain()
            while True:
                if self._doubtful is not None and self._jobs.empty():
                    await self._turn(self._doubtful, self._vouch)
                    continue
                job = await self._jobs.get()
                if job.request is None:
                    break
                if not job.done.done():  # else who asked has gone: nothing is sent
                    await self._turn(job, self._do)
            with contextlib.suppress(LinkError):
                await self.wire.drop()  # what lies unread at the end would turn an orderly close into a reset
        except LinkError as error:
            self._why = str(error).removeprefix(f"{self.link.address}: ")
        except Exception:
            self._why = "a bug in the driver, see the log"
            log.exception("%s: the line is given up", self.link.address)
        finally:
            self._why = self._why or "closed"
            await self.link.close()
            if self._doubtful is not None:
                self._refuse(self._doubtful)
            while not self._jobs.empty():
                self._refuse(self._jobs.get_nowait())

    def _refuse(self, job: _Job) -> None:
        job.fail(LinkError(f"{self.link.address}: {self._why}"))

    async def _turn(self, job: _Job, deed: Callable[[_Job, Request], Awaitable[None]]) -> None:
        """Do one exchange for a job; what goes wrong goes to who asked, unless the line is lost."""
        request = job.request
        if request is None:
            return
        try:
            await deed(job, request)
        except (ProtocolError, LinkTimeout) as error:
            try:
                await self._again(job, request, error)
            except LinkError as lost:
                self._give_up(job, lost)
                raise
        except LinkError as error:
            self._give_up(job, error)
            raise
        except DriverError as error:
            job.fail(error)
        except BaseException:
            self._why = self._why or "given up in the middle of an exchange"
            self._refuse(job)
            raise

    def _give_up(self, job: _Job, error: LinkError) -> None:
        self._why = str(error).removeprefix(f"{self.link.address}: ")
        self._refuse(job)

    async def _do(self, job: _Job, request: Request) -> None:
        """Send what a job asks. A check of the line takes a turn of its own: OFF waits for one exchange."""
        if await self.wire.drop():
            await self._recover(request.board, silent=False)
            self._jobs.put_nowait(job)
            return
        doubtful = self._doubtful
        if doubtful is not None and doubtful.looks_like(job.request, job.form):
            self._jobs.put_nowait(job)
            await self._turn(doubtful, self._vouch)
            return
        job.still()
        if job in self._offs:
            self._offs.remove(job)
        job.take(await self.wire.exchange(request))
        self._believe()
        if any(other != request and job.looks_like(other, form) for other, form in self._recent):
            self._doubtful = job
        else:
            job.succeed()
        self._recent.append((request, job.form))

    async def _vouch(self, job: _Job, request: Request) -> None:
        """Ask BDSNUM after a reply in doubt: were it an old one, the right one would come now."""
        if await self.wire.drop():
            raise self.wire.wrong(request, "more than one reply")
        if request.board in self.identities:
            await self._check(request.board, 1)
            self._believe()
        else:
            self._doubtful = None
            job.fail(BoardSilent(f"{self.link.address}: board {request.board} is silent; its last reply is in doubt"))

    def _believe(self) -> None:
        """The line is in step, so the reply before was that to its question."""
        if self._doubtful is not None:
            self._doubtful.succeed()
            self._doubtful = None

    async def _again(self, job: _Job, request: Request, error: DriverError) -> None:
        """Bring the line in step after a reply that was lost; then ask a question again, once."""
        vouching = job is self._doubtful
        try:
            await self._recover(request.board, silent=isinstance(error, LinkTimeout))
        except BoardSilent as silent:
            job.fail(silent)
            return
        if job.done.done() or vouching:
            return  # it was in doubt and has been dealt with
        if not request.setting and not job.repeated:
            job.repeated = True
            self._jobs.put_nowait(job)
        elif request.board in self.identities or not isinstance(error, LinkTimeout):
            job.fail(LostReply(str(error)))
        else:
            job.fail(BoardSilent(str(error)))

    async def _recover(self, board: int, silent: bool) -> None:
        """Bring the line in step: quiet, then BDSNUM and BDNAME of this board, or of another if this one is silent.

        Args:
            board: of the request that failed.
            silent: it failed because nothing came.

        Raises:
            BoardSilent: another board answers, this one does not.
            LinkError: the line stays silent or out of step. It must be closed.
        """
        self.wire.counts.desyncs += 1
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None:
            if doubtful.repeated:
                doubtful.fail(LostReply(f"{self.link.address}: the reply to {doubtful.request} was in doubt twice"))
            else:
                doubtful.repeated = True
                self._jobs.put_nowait(doubtful)
        wrong = ""
        for _attempt in range(TRIES):
            await self._quiet()
            if not self.identities:
                return  # nobody to ask: whoever identifies a board asks BDSNUM first and last
            wrong = ""
            for known in sorted(self.identities, key=lambda each: each != board)[:ASKED]:
                try:
                    await self._check(known)
                except LinkTimeout:
                    await self._quiet()
                    continue
                except DriverError as error:
                    wrong = str(error)
                    break
                if known == board or (board not in self.identities and not silent):
                    return
                raise BoardSilent(f"{self.link.address}: board {board} is silent, board {known} answers")
            if not wrong:
                raise LinkError(f"{self.link.address}: silent; is the supply switched on, the cable in?")
        raise LinkError(
            f"{wrong}. Another unit, or out of step: the link is closed and must be opened and identified anew"
        )

    async def _quiet(self) -> None:
        """Wait until nothing comes any more; what is to be switched off meanwhile is told so at once, and once."""
        while True:
            if self._offs and (request := self._offs.pop(0).request) is not None:
                await self.wire.send(request)
            await self.wire.drain(lambda: bool(self._offs))
            if not self._offs:
                return

    async def _check(self, board: int, questions: int = 2) -> None:
        for par, text in list(zip(("BDSNUM", "BDNAME"), self.identities[board], strict=True))[:questions]:
            if self._offs:
                await self._quiet()
            request = Request(board, par)
            reply = await self.wire.exchange(request)
            if reply.values != (text,):
                raise self.wire.wrong(request, f"{';'.join(reply.values)}, expected {text}")


def _ignore(reply: Reply) -> None:
    """Take no notice of a reply."""


def _nothing() -> None:
    """Have no objection."""
