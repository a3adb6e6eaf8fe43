"""asyncio streams: sends its pid and whom it sees, then echoes.  Usage: streams.py HOST PORT."""

import asyncio
import json
import os
import sys


async def send_pid(reader, writer):
    told = json.dumps({"pid": os.getpid(), "peer": writer.get_extra_info("peername")[:2]})
    writer.write(told.encode() + b"\n")
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main():
    server = await asyncio.start_server(send_pid, sys.argv[1], int(sys.argv[2]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
