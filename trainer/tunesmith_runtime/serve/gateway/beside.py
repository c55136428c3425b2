"""Processes beside the gateway, which do what it is too light for."""

import asyncio


async def ended(process: asyncio.subprocess.Process) -> None:
    """Wait for a process that is ending, and until its pipes are closed: a loop that ends before leaves them open."""
    await process.communicate()
    await asyncio.sleep(0)
