"""A child process that does jobs: for each `job.requested` it says how far it is, and at last `job.done`.

Started by a parent that made a stdio event target of it, see README.md.
"""

import asyncio

from alkpubsub import PubSubError, open_stdio


async def main() -> None:
    link = open_stdio()
    try:
        async for event in await link.subscribe("job.requested"):
            steps = event["payload"]["steps"]
            for step in range(1, steps + 1):
                await link.publish("job.progress", event["id"], {"step": step, "of": steps})
            await link.publish("job.done", event["id"], {"sum": sum(range(1, steps + 1))})
    except PubSubError as error:
        # The parent is done with this child.
        if error.code != "DISCONNECTED":
            raise
    finally:
        await link.close()


if __name__ == "__main__":
    asyncio.run(main())
