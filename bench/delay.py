"""A TCP proxy that is far away: Delay("127.0.0.1", port, 0.025) -> .port; .stop().

What it is sent arrives that many seconds later, in order, each way; a connection is there after one round trip. It runs
as a process of its own, so that it is as quick as its delay says.
"""
import asyncio
import os
import selectors
import subprocess
import sys


class Delay:
    def __init__(self, host, port, one_way_s):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), host, str(port), str(one_way_s)],
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


async def carry(reader, writer, one_way_s):
    """One direction: read at once, written when its time has come."""
    loop, under_way = asyncio.get_running_loop(), asyncio.Queue()

    async def take():
        try:
            while data := await reader.read(262144):
                under_way.put_nowait((loop.time() + one_way_s, data))
        except OSError:
            pass
        under_way.put_nowait((loop.time() + one_way_s, b""))

    taking = asyncio.create_task(take())
    try:
        while True:
            at, data = await under_way.get()
            await asyncio.sleep(max(0, at - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        pass
    await taking


async def serve(host, port, one_way_s):
    async def connection(reader, writer):
        await asyncio.sleep(2 * one_way_s)  # the hand-shake
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, far_writer, one_way_s), carry(far_reader, writer, one_way_s))
        far_writer.close()
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    # select() waits to the microsecond; epoll in whole milliseconds, which would make every round trip one or two longer.
    asyncio.SelectorEventLoop(selectors.SelectSelector()).run_until_complete(
        serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
