"""What goes wrong, with the codes of docs/errors.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Gap:
    """Events were lost here, or may have been.

    ``reason`` is a word ("reconnect", "overflow", ...), ``since`` and ``until`` are milliseconds since 1970, ``lost`` is how
    many, or "unknown".
    """

    reason: str
    since: float
    until: float
    lost: Union[int, str]


class PubSubError(Exception):
    """An error with a ``code`` that programs can compare, and a message that says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class GapError(PubSubError):
    """A subscription reached a gap that nobody handles; ``gap`` is what is known of it."""

    def __init__(self, gap: Gap) -> None:
        super().__init__(
            "GAP",
            f"Events may be missing here ({gap.reason}, lost: {gap.lost}). Give on_gap to go on.",
        )
        self.gap = gap
