"""One end of a link: the protocol of docs/protocol.md, level "full" without resumption."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections import deque
from typing import Any, Awaitable, Callable, Deque, Optional, Protocol

from .errors import Gap, PubSubError
from .frames import VERSIONS, check_control, check_envelope, control, dump, malformed, parse
from .subscription import Envelope, OnGap, Subscription
from .topic import Filter, Matcher, check_filter, check_topic

#: Bytes of one frame that this side takes.
MAX_FRAME = 1024 * 1024
#: Malformed frames that a link survives; one more ends it. One is forgiven a minute.
MAX_MALFORMED = 16
#: Frames gathered at most before they are sent.
MAX_GATHERED = 1000
#: Subscriptions that the far end may have at once.
MAX_FILTERS = 16_384
#: Events that wait for the first handshake.
MAX_WAITING = 1024


class PipeReceiver(Protocol):
    """What a pipe tells its link."""

    max_frame: int

    def frame(self, data: Any) -> None:
        """A frame arrived: its text, or its value where the pipe had to look inside."""

    def malformed(self, message: str) -> None:
        """Something arrived that is no frame."""

    def damaged(self, message: str) -> None:
        """Something arrived that may have held frames. Nobody knows any more who has received what."""

    def closed(self, cause: Optional[BaseException]) -> None:
        """The pipe is over, whoever ended it; the last call."""


class Pipe(Protocol):
    """Carries frames of text between two ends, in order."""

    #: Seconds of silence after which the far end is asked whether it is there; 0 for never.
    heartbeat: float
    #: Bytes that wait to be sent.
    buffered: int

    def open(self, receiver: PipeReceiver) -> None:
        """Begins to receive; called once."""

    def send(self, text: str) -> None:
        """Sends one frame."""

    async def close(self) -> None:
        """Ends the pipe, once what was sent has left. The receiver is not called any more."""


class _FarFilter(Filter):
    def __init__(self, type_: str, id_: Optional[str], ref: int) -> None:
        super().__init__(type_, id_)
        self.ref = ref


class _Sent:
    """An event on its way, and who waits for its acknowledgement."""

    __slots__ = ("envelope", "future", "since")

    def __init__(self, envelope: Envelope, future: asyncio.Future[None]) -> None:
        self.envelope = envelope
        self.future = future
        self.since = time.monotonic()


class Link:
    """Publishes to, and subscribes at, the other end of a pipe.

    Made by :func:`open_stdio` and :func:`open_websocket`. Everything runs in one event loop, and nothing here is for other
    threads.
    """

    def __init__(
        self,
        *,
        max_frame: int = MAX_FRAME,
        heartbeat: Optional[float] = None,
        ack_timeout: float = 10.0,
        subscribe_timeout: float = 10.0,
        max_unacknowledged: int = 131_072,
        max_buffered: int = 64 * 1024 * 1024,
        reattach: bool = False,
        on_error: Optional[Callable[[PubSubError], object]] = None,
    ) -> None:
        """Times are in seconds, sizes in bytes.

        :param heartbeat: silence after which the far end is asked, and after as much again given up; default: the pipe's
        :param reattach: whether another pipe follows one that was closed
        :param on_error: told of what concerns no call (malformed frames); default: printed to standard error
        """
        self.max_frame = max_frame
        #: "connecting", "ready", "interrupted" or "closed".
        self.status = "connecting"
        self._status_waiters: list[asyncio.Future[None]] = []
        #: Resolves with why, once the link is over for good.
        self.closed: asyncio.Future[PubSubError] = asyncio.get_running_loop().create_future()
        #: Called when the conversation is over and another pipe is expected.
        self.on_detached: Optional[Callable[[PubSubError], object]] = None
        self._heartbeat = heartbeat
        self._ack_timeout = ack_timeout
        self._subscribe_timeout = subscribe_timeout
        self._max_unacknowledged = max_unacknowledged
        self._max_buffered = max_buffered
        self._reattach = reattach
        self._on_error = on_error if on_error is not None else _print_error
        self._loop = asyncio.get_running_loop()
        self._pipe: Optional[Pipe] = None
        self._receiver: Optional[_Receiver] = None
        # Ours, and what the far end has asked for.
        self._subscriptions: Matcher[Subscription] = Matcher()
        self._by_ref: dict[int, Subscription] = {}
        self._far: Matcher[_FarFilter] = Matcher()
        self._far_by_ref: dict[int, _FarFilter] = {}
        self._last_ref = 0
        # The conversation.
        self._nonce = ""
        self._session = secrets.token_hex(16)
        self._far_nonce: Optional[str] = None
        self._welcomed = False
        self._deaf = False
        self._hello_timer: Optional[asyncio.TimerHandle] = None
        self._hello_wait = 0.0
        self._interrupted_at = 0.0
        # What the far end told of itself.
        self._far_frame = max_frame
        self._batch = False
        self._echo = False
        self._origin: Optional[str] = None
        # Counting, each way.
        self._received = 0
        self._ack_due = False
        self._acknowledged = 0
        self._sent: Deque[_Sent] = deque()
        self._waiting: Deque[_Sent] = deque()
        # What goes out at the end of this turn: text, and the event that it is, if it is one.
        self._gathered: list[tuple[str, Optional[_Sent]]] = []
        self._flush_due = False
        # Malformed frames, silence.
        self._malformed = 0.0
        self._malformed_at = time.monotonic()
        self._last_heard = time.monotonic()
        self._pinged = False
        self._beat_timer: Optional[asyncio.TimerHandle] = None
        self._watch_timer: Optional[asyncio.TimerHandle] = None
        self._closings: set[asyncio.Future[Any]] = set()

    # ------------------------------------------------------------------------------------------------- what users call

    def publish(self, type_: str, id_: str, payload: Any) -> Awaitable[None]:
        """Publishes an event; sent at once, in the order of the calls, whether or not the result is awaited.

        The result is done when the far end has the event and has given it to every subscription that it knew, or nobody
        there wants it. It raises INVALID_TOPIC, PAYLOAD (no JSON, or larger than the far end takes), OVERFLOW (too much is
        unacknowledged), TIMEOUT and INTERRUPTED (the event may have been delivered), REFUSED and LIMIT (the far end's
        word), CLOSED and DISCONNECTED.

        Example: ``await link.publish("session.status", "proj_123", {"status": "busy"})``
        """
        future: asyncio.Future[None] = self._loop.create_future()
        try:
            check_topic(type_, id_)
            self._raise_if_over()
            sent = _Sent({"type": type_, "id": id_, "payload": payload}, future)
            if self._welcomed:
                self._publish(sent)
            elif self.status != "connecting":
                raise PubSubError("INTERRUPTED", f"{type_} was not published: the connection is interrupted.")
            elif len(self._waiting) >= MAX_WAITING:
                raise PubSubError("OVERFLOW", f"{MAX_WAITING} events wait for the connection.")
            else:
                self._waiting.append(sent)
                self._watch()
        except PubSubError as error:
            future.set_exception(error)
        return future

    async def subscribe(
        self,
        type_: str,
        id_: Optional[str] = None,
        *,
        group: Optional[str] = None,
        own: bool = True,
        limit: int = 16_384,
        on_gap: OnGap = None,
    ) -> Subscription:
        """Subscribes to a type or pattern, with one id or, by default, every id; returns once it is live.

        :param group: events go to one member of the group in turn; at a hub alone
        :param own: whether events that this link published are delivered too
        :param limit: events that are buffered; one more ends the subscription with OVERFLOW
        :param on_gap: called when the consumer reaches a place where events may be missing; default: GapError is raised

        Raises INVALID_TOPIC, TIMEOUT, REFUSED, LIMIT, UNSUPPORTED, CLOSED, DISCONNECTED.

        Example: ``async for event in await link.subscribe("session.*"): print(event["payload"])``
        """
        check_filter(type_, id_)
        self._raise_if_over()
        subscription = Subscription(self, type_, id_, group=group, own=own, limit=limit, on_gap=on_gap)
        self._subscriptions.add(subscription)
        if self._welcomed:
            self._ask(subscription)
        try:
            await asyncio.wait_for(asyncio.shield(subscription.live), self._subscribe_timeout)
        except asyncio.TimeoutError:
            subscription.close()
            raise PubSubError(
                "TIMEOUT",
                f"{type_} was not acknowledged within {self._subscribe_timeout} s. Is the far end there, and does it "
                "speak the link protocol?",
            ) from None
        except BaseException:
            subscription.close()
            raise
        return subscription

    async def ready(self) -> None:
        """Returns once the far end has answered, and all subscriptions are live. Raises why it never will."""
        while self.status != "ready":
            self._raise_if_over()
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._status_waiters.append(waiter)
            await waiter

    async def close(self) -> None:
        """Says goodbye and closes the pipe. Subscriptions drain and are done, unacknowledged publishes raise CLOSED."""
        if not self.closed.done():
            self._end(PubSubError("CLOSED", "The link was closed on this side."), bye="CLOSED")
        if self._closings:
            await asyncio.wait(list(self._closings))

    async def __aenter__(self) -> Link:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --------------------------------------------------------------------------------------- what the pipe's owner calls

    def attach(self, pipe: Pipe) -> None:
        """Begins a conversation over a pipe; the one before must be over."""
        if self._receiver is not None:
            raise RuntimeError("The link has a pipe already.")
        if self.closed.done():
            self._let_go(pipe)
            return
        self._pipe = pipe
        self._receiver = receiver = _Receiver(self)
        self._far_nonce = None
        self._far_frame = self.max_frame
        self._batch = False
        self._last_heard = time.monotonic()
        self._pinged = False
        pipe.open(receiver)
        self._begin()
        heartbeat = pipe.heartbeat if self._heartbeat is None else self._heartbeat
        if heartbeat > 0:
            self._beat_timer = self._loop.call_later(heartbeat / 2, self._beat, heartbeat)

    def end(self, cause: PubSubError) -> None:
        """Says that no other pipe will come."""
        self._end(cause)

    def forget(self, subscription: Subscription) -> None:
        """Unsubscribes; called by the subscription."""
        self._subscriptions.discard(subscription)
        if self._by_ref.pop(subscription.ref, None) is not None:
            self._control("$unsubscribe", {"ref": subscription.ref})

    # ---------------------------------------------------------------------------------------------------- the handshake

    def _begin(self) -> None:
        """Section "Handshake": a nonce that was never used, counts at zero, and hello until welcomed."""
        self._nonce = secrets.token_hex(16)
        self._start_counting()
        self._welcomed = False
        self._hello_wait = 0.05
        self._say_hello()

    def _start_counting(self) -> None:
        self._received = 0
        self._ack_due = False
        self._acknowledged = 0

    def _say_hello(self) -> None:
        self._stop_hello()
        if self._welcomed or self._receiver is None:
            return
        self._control(
            "$hello",
            {"nonce": self._nonce, "versions": list(VERSIONS), "limits": {"frame": self.max_frame}, "batch": True},
        )
        self._hello_timer = self._loop.call_later(self._hello_wait, self._say_hello)
        self._hello_wait = min(self._hello_wait * 2, 1.0)

    def _stop_hello(self) -> None:
        if self._hello_timer is not None:
            self._hello_timer.cancel()
            self._hello_timer = None

    def _on_hello(self, payload: dict[str, Any]) -> None:
        version = max((known for known in VERSIONS if known in payload["versions"]), default=0)
        if version == 0:
            self._give_up("VERSION", f"This side speaks the versions {list(VERSIONS)} of the link protocol.")
            return
        before, self._far_nonce = self._far_nonce, payload["nonce"]
        # Each hello counts as it stands: another program may have been started behind the same pipe.
        self._far_frame = int(payload.get("limits", {}).get("frame", self.max_frame))
        self._batch = payload.get("batch") is True
        restarted = before is not None and before != self._far_nonce
        if restarted:
            self._restart("The far end restarted")
        self._control(
            "$welcome",
            {
                "nonce": self._far_nonce,
                "version": version,
                "session": self._session,
                "resumeWindow": 0,
                "resumed": False,
                "echo": False,
                "groups": False,
                "limits": {"frame": self.max_frame},
            },
        )
        if restarted:
            self._hello_wait = 0.05
            self._say_hello()

    def _on_welcome(self, payload: dict[str, Any]) -> None:
        if payload["nonce"] != self._nonce or self._welcomed:
            return
        self._stop_hello()
        self._deaf = False
        self._welcomed = True
        self._far_frame = int(payload.get("limits", {}).get("frame", self._far_frame))
        self._echo = payload.get("echo") is True
        self._origin = payload.get("origin")
        if self._interrupted_at:
            now = time.time() * 1000
            gap = Gap("reconnect", self._interrupted_at, now, "unknown")
            self._interrupted_at = 0.0
            for subscription in self._subscriptions:
                if subscription.is_live:
                    subscription.push_gap(gap)
        for subscription in self._subscriptions:
            self._ask(subscription)
        waiting, self._waiting = self._waiting, deque()
        for sent in waiting:
            if not sent.future.done():
                try:
                    self._publish(sent)
                except PubSubError as error:
                    sent.future.set_exception(error)
        self._look_ready()

    def _restart(self, why: str) -> None:
        """Counting begins anew on the same pipe; what was on its way is lost."""
        self._welcomed = False
        self._drop_gathered_events()
        self._interrupt(PubSubError("INTERRUPTED", f"{why} before it acknowledged; the event may have been delivered."))
        self._start_counting()

    def _interrupt(self, error: PubSubError) -> None:
        """Nobody knows what arrived: publishes raise, the far end's subscriptions are void, ours are asked for again."""
        if self.status == "ready":
            self._interrupted_at = time.time() * 1000
        if self.status != "connecting":
            self._set_status("interrupted")
        sent, self._sent = self._sent, deque()
        for each in sent:
            _fail(each, error)
        self._far = Matcher()
        self._far_by_ref = {}
        self._by_ref = {}

    def _look_ready(self) -> None:
        # Those that were live before an interruption must be so again; new ones have their own waiters.
        if self._welcomed and not any(each.is_live and each.pending for each in self._subscriptions):
            self._set_status("ready")

    def _set_status(self, status: str) -> None:
        self.status = status
        waiters, self._status_waiters = self._status_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # ------------------------------------------------------------------------------------------------- events going out

    def _publish(self, sent: _Sent) -> None:
        """Sends an event if the far end wants it. Raises PAYLOAD or OVERFLOW."""
        envelope = sent.envelope
        type_, id_ = envelope["type"], envelope["id"]
        if self._echo and self._origin is not None:
            envelope["meta"] = {"origin": self._origin}
        try:
            text = dump(envelope)
        except (TypeError, ValueError) as error:
            raise PubSubError("PAYLOAD", f"The payload of {type_} cannot be JSON: {error}.") from error
        if not self._echo and not self._far.wants(type_, id_):
            # Nobody over there wants it; whoever subscribes is answered after its filter is known here.
            self._accepted(sent)
            return
        if len(text) * 3 > self._far_frame:
            size = len(text.encode("utf-8"))
            if size > self._far_frame:
                raise PubSubError("PAYLOAD", f"The event has {size} bytes, the far end takes {self._far_frame}.")
        if len(self._sent) >= self._max_unacknowledged or (self._pipe and self._pipe.buffered > self._max_buffered):
            raise PubSubError("OVERFLOW", f"{type_} was not published: too much waits. Await publish more often.")
        sent.since = time.monotonic()
        self._sent.append(sent)
        self._gather(text, sent)
        self._watch()

    def _accepted(self, sent: _Sent) -> None:
        """The far end has it. Where it does not send our own events back, they are ours to deliver."""
        if sent.future.done():
            return
        if not self._echo:
            # A copy, as whoever gets it from the far end has one.
            self._dispatch(parse(dump(sent.envelope)), own=True)
        sent.future.set_result(None)

    def _on_ack(self, payload: dict[str, Any]) -> None:
        received = int(payload["received"])
        if not self._acknowledged <= received <= self._acknowledged + len(self._sent):
            raise malformed(f"The far end acknowledges {received} events, of which not so many were sent.")
        for _ in range(received - self._acknowledged):
            self._accepted(self._sent.popleft())
        self._acknowledged = received

    def _watch(self) -> None:
        if self._watch_timer is None:
            self._watch_timer = self._loop.call_later(self._ack_timeout / 4, self._look_for_late)

    def _look_for_late(self) -> None:
        self._watch_timer = None
        late = time.monotonic() - self._ack_timeout
        for each in self._sent:
            if each.since > late:
                break
            # It still counts: the far end may acknowledge it later.
            _fail(
                each,
                PubSubError(
                    "TIMEOUT",
                    f"The far end did not acknowledge {each.envelope['type']} within {self._ack_timeout} s; it may have been delivered.",
                ),
            )
        while self._waiting and self._waiting[0].since <= late:
            _fail(self._waiting.popleft(), PubSubError("NOT_READY", f"No connection within {self._ack_timeout} s."))
        if self._sent or self._waiting:
            self._watch()

    # ------------------------------------------------------------------------------------------------ events coming in

    def _on_event(self, value: Any) -> None:
        to = None
        if isinstance(value, dict) and "$to" in value:
            value = dict(value)
            to = value.pop("$to")
            to = to if isinstance(to, int) else None
        check_envelope(value)
        self._received += 1
        if to is None:
            meta = value.get("meta")
            origin = meta.get("origin") if isinstance(meta, dict) else None
            self._dispatch(value, own=self._origin is not None and origin == self._origin)
        else:
            subscription = self._by_ref.get(to)
            if subscription is not None:
                subscription.push(value)
        self._ack_due = True
        self._schedule_flush()

    def _dispatch(self, envelope: Envelope, own: bool) -> None:
        for subscription in self._subscriptions.match(envelope["type"], envelope["id"]):
            # Members of groups get what is addressed to them alone.
            if subscription.group is None and (subscription.own or not own):
                subscription.push(envelope)

    # ---------------------------------------------------------------------------------------------------- subscriptions

    def _ask(self, subscription: Subscription) -> None:
        self._last_ref += 1
        subscription.ref = ref = self._last_ref
        subscription.pending = True
        self._by_ref[ref] = subscription
        payload: dict[str, Any] = {"ref": ref, "type": subscription.type}
        if subscription.id is not None:
            payload["id"] = subscription.id
        if subscription.group is not None:
            payload["group"] = subscription.group
        self._control("$subscribe", payload)

    def _on_subscribed(self, payload: dict[str, Any]) -> None:
        subscription = self._by_ref.get(int(payload["ref"]))
        if subscription is None:
            return
        subscription.pending = False
        subscription.is_live = True
        if not subscription.live.done():
            subscription.live.set_result(None)
        self._look_ready()

    def _on_refused(self, payload: dict[str, Any]) -> None:
        error = PubSubError(payload["code"], payload.get("message", "The far end refused."))
        if "ref" in payload:
            subscription = self._by_ref.pop(int(payload["ref"]), None)
            if subscription is not None:
                self._subscriptions.discard(subscription)
                subscription.end(error)
                self._look_ready()
            return
        # The n-th event of the session; it is acknowledged all the same.
        index = int(payload["at"]) - self._acknowledged - 1
        if 0 <= index < len(self._sent):
            _fail(self._sent[index], error)

    def _on_gap(self, payload: dict[str, Any]) -> None:
        now = time.time() * 1000
        gap = Gap(payload["reason"], payload.get("since", now), payload.get("until", now), payload["lost"])
        if "ref" not in payload:
            for subscription in self._subscriptions:
                subscription.push_gap(gap)
            return
        addressed = self._by_ref.get(int(payload["ref"]))
        if addressed is not None:
            addressed.push_gap(gap)

    def _on_subscribe(self, payload: dict[str, Any]) -> None:
        ref = int(payload["ref"])
        try:
            check_filter(payload["type"], payload.get("id"))
            if "group" in payload:
                raise PubSubError("UNSUPPORTED", "Groups need a hub or a broker; this link has two ends.")
            if ref in self._far_by_ref:
                raise PubSubError("REFUSED", f"The reference {ref} is in use.")
            if len(self._far_by_ref) >= MAX_FILTERS:
                raise PubSubError("LIMIT", f"A link may have {MAX_FILTERS} subscriptions; use a pattern.")
        except PubSubError as error:
            self._control("$refused", {"ref": ref, "code": error.code, "message": error.message})
            return
        far = _FarFilter(payload["type"], payload.get("id"), ref)
        # First known, then said: whatever is published after the answer is sent.
        self._far_by_ref[ref] = far
        self._far.add(far)
        self._acknowledge()
        self._control("$subscribed", {"ref": ref})

    def _on_unsubscribe(self, payload: dict[str, Any]) -> None:
        far = self._far_by_ref.pop(int(payload["ref"]), None)
        if far is not None:
            self._far.discard(far)

    def _on_keep(self, payload: dict[str, Any]) -> None:
        """Only said after a resumption, to which this side never agrees."""

    # ------------------------------------------------------------------------------------------------ liveness, goodbye

    def _on_ping(self, payload: dict[str, Any]) -> None:
        self._control("$pong", None)

    def _on_pong(self, payload: dict[str, Any]) -> None:
        """That it was heard is enough."""

    def _beat(self, heartbeat: float) -> None:
        self._beat_timer = self._loop.call_later(heartbeat / 2, self._beat, heartbeat)
        silence = time.monotonic() - self._last_heard
        # Only silence after a question counts: a process that was suspended finds all its clocks late.
        if silence >= heartbeat * 2 and self._pinged:
            # Where it only slept, it hears why nothing comes any more.
            self._give_up("SILENT", f"The far end was silent for {silence:.1f} s and did not answer.")
        elif silence >= heartbeat:
            self._pinged = True
            self._control("$ping", None)

    def _on_bye(self, payload: dict[str, Any]) -> None:
        code = "VERSION" if payload["code"] == "VERSION" else "DISCONNECTED"
        said = payload.get("message")
        self._lose(PubSubError(code, f"The far end ended the link ({payload['code']}){f': {said}' if said else '.'}"))

    # -------------------------------------------------------------------------------------------------------- receiving

    _HANDLERS: dict[str, Callable[[Link, dict[str, Any]], None]] = {
        "$hello": _on_hello,
        "$welcome": _on_welcome,
        "$subscribe": _on_subscribe,
        "$subscribed": _on_subscribed,
        "$refused": _on_refused,
        "$unsubscribe": _on_unsubscribe,
        "$keep": _on_keep,
        "$ack": _on_ack,
        "$gap": _on_gap,
        "$ping": _on_ping,
        "$pong": _on_pong,
        "$bye": _on_bye,
    }

    def _receive(self, receiver: _Receiver, data: Any) -> None:
        self._heard()
        try:
            value = parse(data) if isinstance(data, str) else data
        except PubSubError as error:
            self._bad(error)
            return
        for each in value if isinstance(value, list) else [value]:
            if receiver is not self._receiver:
                return
            self._one(each)

    def _one(self, value: Any) -> None:
        try:
            type_ = value.get("type") if isinstance(value, dict) else None
            if isinstance(type_, str) and type_.startswith("$"):
                if not isinstance(value.get("id"), str) or "payload" not in value:
                    raise malformed("A control frame that is no envelope.")
                payload = check_control(type_, value["payload"])
                # After damage nothing counts, until the far end has heard that this side begins anew.
                if self._deaf and type_ not in ("$welcome", "$bye"):
                    return
                handler = self._HANDLERS.get(type_)
                # An unknown one is for a later version to use.
                if handler is not None:
                    handler(self, payload)
            elif not self._deaf:
                self._on_event(value)
        except PubSubError as error:
            self._bad(error)

    def _heard(self) -> None:
        self._last_heard = time.monotonic()
        self._pinged = False

    def _bad(self, error: PubSubError) -> None:
        """Counts, reports, and ends the link if it repeats."""
        now = time.monotonic()
        self._malformed = max(0.0, self._malformed - (now - self._malformed_at) / 60) + 1
        self._malformed_at = now
        self._on_error(error)
        if self._malformed > MAX_MALFORMED and self._receiver is not None:
            self._give_up("MALFORMED", f"More than {MAX_MALFORMED} malformed frames.")

    def _damaged(self, message: str) -> None:
        self._heard()
        self._bad(malformed(message))
        if self._receiver is None:
            return
        self._restart("What the far end sent was damaged")
        self._deaf = True
        self._begin()

    # ----------------------------------------------------------------------------------------------------------- sending

    def _control(self, type_: str, payload: Any) -> None:
        if self._receiver is None:
            return
        self._gather(control(type_, payload), None)
        if self._pipe is not None and self._pipe.buffered > self._max_buffered:
            self._give_up("SLOW", f"More than {self._max_buffered} bytes waited to be sent.")

    def _gather(self, text: str, sent: Optional[_Sent]) -> None:
        self._gathered.append((text, sent))
        if len(self._gathered) >= MAX_GATHERED:
            self._flush()
        else:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._end_of_turn)

    def _end_of_turn(self) -> None:
        self._flush_due = False
        self._acknowledge()
        self._flush()

    def _acknowledge(self) -> None:
        """How many events have been received and given to all that wanted them."""
        if self._ack_due:
            self._ack_due = False
            self._control("$ack", {"received": self._received})

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if self._pipe is None:
            return
        if not self._batch:
            for text, _ in gathered:
                self._pipe.send(text)
            return
        frame: list[str] = []
        size = 2
        for text, _ in gathered:
            # Up to three bytes a character: a frame that is full by this count is never over the limit.
            weight = len(text) * 3 + 1
            if frame and size + weight > self._far_frame:
                self._send(frame)
                frame, size = [], 2
            frame.append(text)
            size += weight
        if frame:
            self._send(frame)

    def _send(self, frame: list[str]) -> None:
        if self._pipe is not None:
            self._pipe.send(frame[0] if len(frame) == 1 else f"[{','.join(frame)}]")

    def _drop_gathered_events(self) -> None:
        # Their publishes are among those that were sent, and raise with them.
        self._gathered = [item for item in self._gathered if item[1] is None]

    # ------------------------------------------------------------------------------------------------------------ ending

    def _raise_if_over(self) -> None:
        if self.closed.done():
            error = self.closed.result()
            raise PubSubError(error.code, error.message)

    def _give_up(self, code: str, message: str) -> None:
        self._lose(PubSubError(code, message), bye=code)

    def _lose(self, cause: PubSubError, bye: Optional[str] = None) -> None:
        """The pipe is of no use any more: another one follows, or the link is over."""
        if not self._reattach or cause.code == "VERSION":
            return self._end(cause, bye)
        self._detach(cause, bye)
        if self.on_detached is not None:
            self.on_detached(cause)

    def _end(self, cause: PubSubError, bye: Optional[str] = None) -> None:
        if self.closed.done():
            return
        self._detach(cause, bye)
        if cause.code not in ("CLOSED", "VERSION"):
            cause = PubSubError("DISCONNECTED", cause.message)
        self.closed.set_result(cause)
        self._set_status("closed")
        for sent in self._waiting:
            _fail(sent, cause)
        self._waiting.clear()
        for subscription in list(self._subscriptions):
            subscription.end(None if cause.code == "CLOSED" and subscription.live.done() else cause)
        self._subscriptions = Matcher()

    def _detach(self, cause: PubSubError, bye: Optional[str]) -> None:
        """Lets go of the pipe, with a word why."""
        pipe = self._pipe
        if pipe is not None:
            self._acknowledge()
            if bye is not None:
                self._gathered.append((control("$bye", {"code": bye, "message": cause.message}), None))
            self._flush()
        self._pipe = self._receiver = None
        self._gathered = []
        self._welcomed = self._deaf = False
        self._stop_hello()
        for timer in (self._beat_timer, self._watch_timer):
            if timer is not None:
                timer.cancel()
        self._beat_timer = self._watch_timer = None
        if cause.code == "CLOSED":
            self._interrupt(cause)
        else:
            self._interrupt(
                PubSubError(
                    "INTERRUPTED",
                    f"The connection ended before the far end acknowledged; the event may have been delivered. {cause.message}",
                )
            )
        if self._waiting:
            self._watch()
        if pipe is not None:
            self._let_go(pipe)

    def _let_go(self, pipe: Pipe) -> None:
        closing = asyncio.ensure_future(pipe.close())
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)


class _Receiver:
    """A pipe's words reach the link only while the pipe is its own."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.max_frame = link.max_frame

    @property
    def _is_current(self) -> bool:
        return self._link._receiver is self

    def frame(self, data: Any) -> None:
        if self._is_current:
            self._link._receive(self, data)

    def malformed(self, message: str) -> None:
        if self._is_current:
            self._link._heard()
            self._link._bad(malformed(message))

    def damaged(self, message: str) -> None:
        if self._is_current:
            self._link._damaged(message)

    def closed(self, cause: Optional[BaseException]) -> None:
        if self._is_current:
            said = f": {cause}" if cause is not None else "."
            self._link._lose(PubSubError("DISCONNECTED", f"The connection was closed{said}"))


def _fail(sent: _Sent, error: PubSubError) -> None:
    if not sent.future.done():
        sent.future.set_exception(PubSubError(error.code, error.message))


def _print_error(error: PubSubError) -> None:
    print(error, file=sys.stderr)
