"""A TCP proxy in front of a Redis that can be told to lose things: Proxy(target_port) -> .port; .mode(word), which gives the
number of bytes that were lost since a mode that loses any began; .stop().

    pass    bytes go both ways
    drop    nothing goes either way, and nobody is told: new connections are taken and stay silent
    deaf    requests still arrive, their answers do not: what was asked is done and nobody hears of it

Whoever was connected while bytes were lost is disconnected when `pass` comes back: a stream with a hole is no stream.
It runs as a process of its own, so that the torture's own waits never slow the campaign.
"""
import asyncio
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

from nsd import die_with_parent

MODES = ("pass", "drop", "deaf")


class Proxy:
    def __init__(self, target_port):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), str(target_port)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                                        preexec_fn=die_with_parent)
        self.port = int(self.process.stdout.readline())

    def mode(self, word):
        assert word in MODES
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        said, lost = self.process.stdout.readline().split()
        assert said == word
        return int(lost)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class _Server:
    def __init__(self, target_port):
        self.target_port, self.mode, self.writers, self.holed, self.lost = target_port, "pass", set(), set(), 0

    async def pump(self, reader, writer, lost_in):
        """One direction; lost_in: the modes in which its bytes go nowhere."""
        try:
            while data := await reader.read(65536):
                if self.mode in lost_in:
                    self.lost += len(data)
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(self, reader, writer):
        self.writers.add(writer)
        if self.mode != "pass":
            self.holed.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            self.writers.discard(writer)
            return
        await asyncio.gather(self.pump(reader, far_writer, ("drop",)), self.pump(far_reader, writer, ("drop", "deaf")))
        self.writers.discard(writer)
        self.holed.discard(writer)

    def change(self, mode):
        self.mode = mode
        if mode != "pass":
            self.holed |= self.writers
            self.lost = 0
            return
        for writer in self.holed:
            writer.transport.abort()
        self.holed = set()

    async def run(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        loop = asyncio.get_running_loop()
        words = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
        while line := await words.readline():
            self.change(line.decode().strip())
            print(self.mode, self.lost, flush=True)


if __name__ == "__main__":
    asyncio.run(_Server(int(sys.argv[1])).run())
