"""Typed events between processes: the link protocol of @alkdev/pubsub in Python, with the standard library alone.

A program that was started by another one (``child.py`` beside this package)::

    from alkpubsub import open_stdio

    link = open_stdio()
    async for event in await link.subscribe("job.requested"):
        await link.publish("job.done", event["id"], work(event["payload"]))

One that connects to a hub (``spoke.py``)::

    from alkpubsub import open_websocket

    link = open_websocket("ws://localhost:8080")
    await link.publish("session.status", "proj_123", {"status": "busy"})

The protocol is in docs/protocol.md; ``link.py`` follows it section by section.
"""

from .errors import Gap, GapError, PubSubError
from .link import Link, Pipe, PipeReceiver
from .stdio import StdioPipe, open_stdio
from .subscription import Envelope, Subscription
from .websocket import WebSocketPipe, connect_websocket, open_websocket

__all__ = [
    "Envelope",
    "Gap",
    "GapError",
    "Link",
    "Pipe",
    "PipeReceiver",
    "PubSubError",
    "StdioPipe",
    "Subscription",
    "WebSocketPipe",
    "connect_websocket",
    "open_stdio",
    "open_websocket",
]
