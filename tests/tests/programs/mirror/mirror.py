"""The mirror in asyncio: `serve NAME PORT`, or `ask PORT HOST...`, see `mirror.rs`."""

import asyncio
import collections
import json
import os
import sys

PINGS, PING, BULK, PIECE = 50, 64, 300_000, 10_000


async def serve(name, port):
    async def mirror(reader, writer):
        writer.write(name.encode() + b"\n")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    # No host: a socket for each family.
    server = await asyncio.start_server(mirror, None, port)
    await server.serve_forever()


async def look(host, port):
    reader, writer = await asyncio.open_connection(host, port)
    name = (await reader.readline()).decode().strip()
    for _ in range(PINGS):
        ping = os.urandom(PING)
        writer.write(ping)
        assert await reader.readexactly(PING) == ping, "another answer"
    sent = os.urandom(BULK)

    async def send():
        for begin in range(0, BULK, PIECE):
            writer.write(sent[begin : begin + PIECE])
            await writer.drain()
        writer.write_eof()

    _, seen = await asyncio.gather(send(), reader.read())
    assert seen == sent, f"of {BULK} bytes {len(seen)} came back, or others"
    writer.close()
    await writer.wait_closed()
    return name


async def ask(port, hosts):
    counts = collections.Counter()
    for host in hosts:
        for _ in range(10):
            counts.update(await asyncio.gather(*(look(host, port) for _ in range(3))))
    print(json.dumps(counts))


match sys.argv[1:]:
    case ["serve", name, port]:
        asyncio.run(serve(name, int(port)))
    case ["ask", port, *hosts]:
        asyncio.run(ask(int(port), hosts))
