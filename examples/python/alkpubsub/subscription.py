"""What a subscriber holds."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Optional, Union

from .errors import Gap, GapError, PubSubError
from .topic import Filter

if TYPE_CHECKING:
    from .link import Link

#: An event as it travels: ``type``, ``id``, ``payload``, perhaps ``meta``, and members that nobody here knows.
Envelope = dict[str, Any]

OnGap = Union[Callable[[Gap], object], None]


class Subscription(Filter):
    """The events of one filter, for one consumer: ``async for event in subscription``.

    Made by :meth:`Link.subscribe`. Leaving the loop does not unsubscribe (Python tells nobody): use ``async with``, or
    call :meth:`close`.
    """

    def __init__(
        self,
        link: Link,
        type_: str,
        id_: Optional[str],
        *,
        group: Optional[str],
        own: bool,
        limit: int,
        on_gap: OnGap,
    ) -> None:
        super().__init__(type_, id_)
        self.group = group
        self.own = own
        self.received = 0
        self.gaps = 0
        #: The reference by which the far end knows it now; new on every channel.
        self.ref = 0
        #: Whether the far end has ever said yes, and whether it was asked and has not answered.
        self.is_live = False
        self.pending = False
        self.live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._link = link
        self._limit = limit
        self._on_gap = on_gap
        self._queue: Deque[Union[Envelope, Gap]] = deque()
        self._waiting: Deque[asyncio.Future[None]] = deque()
        self._over = False
        self._error: Optional[PubSubError] = None

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Envelope:
        """The next event.

        Raises GapError at a gap that nobody handles (and has unsubscribed then), OVERFLOW after a buffer that was full,
        REFUSED if the far end took the subscription away, DISCONNECTED if the link ended; what is buffered comes first.
        """
        while True:
            while self._queue:
                item = self._queue.popleft()
                if not isinstance(item, Gap):
                    return item
                if self._on_gap is None:
                    self.close()
                    raise GapError(item)
                self._on_gap(item)
            if self._over:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unsubscribes and discards what is buffered; the iteration is over. Idempotent."""
        self._link.forget(self)
        self._queue.clear()
        self._finish(None)

    # The link's side.

    def push(self, envelope: Envelope) -> None:
        if self._over:
            return
        self.received += 1
        if len(self._queue) >= self._limit:
            self._link.forget(self)
            self._finish(
                PubSubError(
                    "OVERFLOW",
                    f"More than {self._limit} events of {self.type} waited to be read. Read faster, or raise limit.",
                )
            )
            return
        self._queue.append(envelope)
        self._wake()

    def push_gap(self, gap: Gap) -> None:
        if self._over:
            return
        self.gaps += 1
        last = self._queue[-1] if self._queue else None
        if isinstance(last, Gap):
            # Two in a row are one, so that gaps cannot fill the buffer either.
            lost = last.lost + gap.lost if isinstance(last.lost, int) and isinstance(gap.lost, int) else "unknown"
            self._queue[-1] = Gap(gap.reason, min(last.since, gap.since), max(last.until, gap.until), lost)
        else:
            self._queue.append(gap)
        self._wake()

    def end(self, error: Optional[PubSubError]) -> None:
        """No more will come: the buffer drains, then the error is raised, or the iteration is over."""
        self._finish(error)

    def _finish(self, error: Optional[PubSubError]) -> None:
        if self._over:
            return
        self._over = True
        self._error = error
        if not self.live.done():
            self.live.set_exception(error or PubSubError("CLOSED", "The subscription was closed before it was live."))
            self.live.exception()
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                if not self._over:
                    return
