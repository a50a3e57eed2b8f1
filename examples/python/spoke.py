"""A spoke of a hub: prints the events of a pattern, one JSON a line, or publishes one event.

    python3 spoke.py ws://localhost:8080 tail 'demo.*'
    python3 spoke.py ws://localhost:8080 publish demo.note me '{"note": "hi"}'
"""

import asyncio
import json
import sys

from alkpubsub import Gap, Link, open_websocket


def report(gap: Gap) -> None:
    print(f"events may be missing here: {gap}", file=sys.stderr)


async def tail(link: Link, pattern: str) -> None:
    async with await link.subscribe(pattern, on_gap=report) as events:
        print("listening", file=sys.stderr)
        async for event in events:
            print(json.dumps(event), flush=True)


async def main(url: str, command: str, *args: str) -> None:
    async with open_websocket(url) as link:
        if command == "tail":
            await tail(link, *args)
        elif command == "publish":
            type_, id_, payload = args
            await link.publish(type_, id_, json.loads(payload))
        else:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        pass
