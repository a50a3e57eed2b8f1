"""Topics: what a type, an id and a pattern may be, and who gets an event (docs/protocol.md, "Topics")."""

from __future__ import annotations

import unicodedata
from typing import Any, Generic, Iterator, Optional, TypeVar

from .errors import PubSubError

MAX_TOKENS = 16
MAX_TYPE_BYTES = 255
MAX_ID_BYTES = 1024

# White space of the protocol beside the control characters and the space separators of Unicode.
_SPACES = "\u2028\u2029\ufeff"


def utf8_length(text: str) -> int:
    """Bytes of a string as UTF-8; half a surrogate pair, which JSON can carry, counts for three."""
    return len(text.encode("utf-8", "surrogatepass"))


def _forbidden(character: str) -> bool:
    return (
        character == ":"
        or character in _SPACES
        or unicodedata.category(character) in ("Cc", "Zs")
    )


def type_problem(type_: Any, pattern: bool = False) -> Optional[str]:
    """Why something cannot be an event type (or a pattern), or None if it can."""
    if not isinstance(type_, str):
        return "it is no string"
    if type_ == "":
        return "it is empty"
    if any(map(_forbidden, type_)):
        return "it contains a colon, white space or a control character"
    if type_.startswith("$"):
        return "types that start with $ are reserved for the protocol"
    if utf8_length(type_) > MAX_TYPE_BYTES:
        return f"it is longer than {MAX_TYPE_BYTES} bytes"
    tokens = type_.split(".")
    if len(tokens) > MAX_TOKENS:
        return f"it has more than {MAX_TOKENS} tokens"
    for i, token in enumerate(tokens):
        if token == "":
            return "it has an empty token"
        if "*" not in token:
            continue
        if not pattern:
            return "it contains a wildcard, which is for subscribing"
        if token == "**" and i < len(tokens) - 1:
            return "** may stand only at the end"
        if token not in ("*", "**"):
            return "a star stands for a whole token"
    return None


def id_problem(id_: Any) -> Optional[str]:
    """Why something cannot be an id, or None if it can."""
    if not isinstance(id_, str):
        return "it is no string"
    if utf8_length(id_) > MAX_ID_BYTES:
        return f"it is longer than {MAX_ID_BYTES} bytes"
    return None


def check_topic(type_: Any, id_: Any) -> None:
    """Raises INVALID_TOPIC unless an event may have this type and id."""
    problem = type_problem(type_)
    if problem is not None:
        raise PubSubError("INVALID_TOPIC", f"{type_!r:.100} cannot be an event type: {problem}.")
    problem = id_problem(id_)
    if problem is not None:
        raise PubSubError("INVALID_TOPIC", f"{id_!r:.100} cannot be an id: {problem}.")


def check_filter(type_: Any, id_: Any) -> None:
    """Raises INVALID_TOPIC unless one may subscribe to this; no id means every id."""
    problem = type_problem(type_, pattern=True)
    if problem is not None:
        raise PubSubError("INVALID_TOPIC", f"{type_!r:.100} cannot be subscribed to: {problem}.")
    problem = None if id_ is None else id_problem(id_)
    if problem is not None:
        raise PubSubError("INVALID_TOPIC", f"{id_!r:.100} cannot be an id: {problem}.")


def is_pattern(type_: str) -> bool:
    return "*" in type_


def matches_type(pattern: str, type_: str) -> bool:
    """Whether a pattern matches: `*` is one token, a last `**` any number of them, none included."""
    wanted = pattern.split(".")
    tokens = type_.split(".")
    for i, token in enumerate(wanted):
        if token == "**":
            return True
        if i >= len(tokens) or token not in ("*", tokens[i]):
            return False
    return len(wanted) == len(tokens)


class Filter:
    """A type or pattern, with an id or, as None, every id."""

    def __init__(self, type_: str, id_: Optional[str]) -> None:
        self.type = type_
        self.id = id_

    def matches(self, type_: str, id_: str) -> bool:
        return (self.id is None or self.id == id_) and matches_type(self.type, type_)


F = TypeVar("F", bound=Filter)


class Matcher(Generic[F]):
    """Filters, and which of them an event passes. Exact ones are found by their topic, patterns one by one."""

    def __init__(self) -> None:
        # Dictionaries, since they keep the order in which filters were added.
        self._exact: dict[tuple[str, Optional[str]], dict[F, None]] = {}
        self._patterns: dict[F, None] = {}

    def add(self, filter_: F) -> None:
        if is_pattern(filter_.type):
            self._patterns[filter_] = None
        else:
            self._exact.setdefault((filter_.type, filter_.id), {})[filter_] = None

    def discard(self, filter_: F) -> None:
        if is_pattern(filter_.type):
            self._patterns.pop(filter_, None)
            return
        key = (filter_.type, filter_.id)
        same = self._exact.get(key)
        if same is not None:
            same.pop(filter_, None)
            if not same:
                del self._exact[key]

    def match(self, type_: str, id_: str) -> list[F]:
        found = [*self._exact.get((type_, id_), ()), *self._exact.get((type_, None), ())]
        found.extend(each for each in self._patterns if each.matches(type_, id_))
        return found

    def wants(self, type_: str, id_: str) -> bool:
        """Whether any of them matches."""
        return (
            (type_, id_) in self._exact
            or (type_, None) in self._exact
            or any(each.matches(type_, id_) for each in self._patterns)
        )

    def __iter__(self) -> Iterator[F]:
        for same in list(self._exact.values()):
            yield from list(same)
        yield from list(self._patterns)
