"""Frames: JSON in and out, and what is malformed (docs/protocol.md, "Envelopes" and "Control frames")."""

from __future__ import annotations

import json
import math
from typing import Any, Callable

from .errors import PubSubError
from .topic import id_problem, type_problem

VERSIONS = (1,)


def malformed(message: str) -> PubSubError:
    return PubSubError("MALFORMED", message)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def parse(text: str) -> Any:
    """The value of a frame. Raises MALFORMED for what is no JSON."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise malformed(f"Not JSON: {text[:100]!r}.") from error


def dump(value: Any) -> str:
    """JSON on one line, without white space. Raises ValueError or TypeError for what JSON cannot carry."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # Half a surrogate pair: JSON carries it escaped, UTF-8 does not carry it at all.
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


def control(type_: str, payload: Any) -> str:
    return dump({"type": type_, "id": "", "payload": payload})


def check_envelope(value: Any) -> None:
    """Raises MALFORMED unless the value is an envelope that someone may publish."""
    if not is_envelope(value):
        raise malformed("A frame that is no envelope: it needs type, id and payload.")
    problem = type_problem(value["type"])
    if problem is not None:
        raise malformed(f"An envelope with the type {value['type'][:100]!r}: {problem}.")
    problem = id_problem(value["id"])
    if problem is not None:
        raise malformed(f"An envelope of {value['type']} with an id that cannot be: {problem}.")


def is_envelope(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("type"), str)
        and isinstance(value.get("id"), str)
        and "payload" in value
    )


def _count(value: Any) -> bool:
    # JSON has one kind of number: 3.0 is 3. In Python, true is one too.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**53 and value == int(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 1024


def _time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _limits(value: Any) -> bool:
    return isinstance(value, dict) and ("frame" not in value or (_count(value["frame"]) and value["frame"] > 0))


def _optional(payload: dict[str, Any], name: str, check: Callable[[Any], bool]) -> bool:
    return name not in payload or check(payload[name])


def _string(value: Any) -> bool:
    return isinstance(value, str)


_CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "$hello": lambda p: _text(p.get("nonce"))
    and isinstance(p.get("versions"), list)
    and len(p["versions"]) <= 64
    and _optional(p, "limits", _limits),
    "$welcome": lambda p: _text(p.get("nonce"))
    and _count(p.get("version"))
    and _optional(p, "session", _text)
    and _optional(p, "origin", _text)
    and _optional(p, "limits", _limits),
    "$subscribe": lambda p: _count(p.get("ref"))
    and _string(p.get("type"))
    and _optional(p, "id", _string)
    and _optional(p, "group", _text),
    "$subscribed": lambda p: _count(p.get("ref")),
    "$refused": lambda p: _text(p.get("code"))
    and _optional(p, "message", _string)
    and (_count(p.get("ref")) or _count(p.get("at"))),
    "$unsubscribe": lambda p: _count(p.get("ref")),
    "$ack": lambda p: _count(p.get("received")),
    "$gap": lambda p: _text(p.get("reason"))
    and (p.get("lost") == "unknown" or _count(p.get("lost")))
    and _optional(p, "ref", _count)
    and _optional(p, "since", _time)
    and _optional(p, "until", _time),
    "$bye": lambda p: _text(p.get("code")),
}


def check_control(type_: str, payload: Any) -> dict[str, Any]:
    """The payload of a control frame. Raises MALFORMED if it lacks what its type needs."""
    given = payload if isinstance(payload, dict) else {}
    check = _CHECKS.get(type_)
    if check is not None and not check(given):
        raise malformed(f"A {type_} frame without what it needs.")
    return given
