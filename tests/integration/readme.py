"""Every example of the README, as typed: files and commands are taken from its text and run in its order, against
receivers and a DNS of this test. What a command gives is in EXPECT; all others have to give 0.
"""
import os
import re
import shlex
import subprocess
import textwrap

import harness
from harness import BUILD, ROOT
from nsd import Nsd, die_with_parent

EXPECT = {
    "pause": (0, 2), "resume": (0, 2), "cancel": (0, 2),  # by then the campaign is settled: 2 says so
    "unknown settle": (0, 2),                              # nobody is unknown
    "suppress check": (1,),                                # he is suppressed
}


def examples():
    """The indented blocks of the README."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", f.read(), re.M)
    return [textwrap.dedent(block).strip("\n") + "\n" for block in blocks]


class Readme(harness.Case):
    def block(self, beginning, words=""):
        found = [b for b in examples() if b.startswith(beginning) and words in b]
        self.assertTrue(found, beginning)
        return found[0]

    def prepare(self):
        a = self.receiver("a")
        zone = f"@ MX 10 mx.{{0}}.\nmx A {a.address}\n"
        self.nsd = Nsd({z: zone.format(z) for z in ("example.net", "example.org", "example.com")}).start()
        self.write("hikyaku.conf", self.block("hostname") + f'resolver {{ servers = {{ "{self.nsd.server()}" }} }}\n'
                   f"smtp {{ port = {self.port} }}\n")
        self.write("try.conf", self.block("hostname", "try-state").replace("127.0.0.1:2525", f"127.0.0.1:{self.port}"))
        self.write("list.csv", self.block("email,name"))
        self.write("news.eml", self.block("From: "))
        self.write("unsubscribed.csv", "email\nhanako@example.net\n")
        os.mkdir(self.path("build"))
        os.symlink(BUILD, self.path("build", "release"))
        return a

    def start_sink(self):
        """The receiver that the README names, on a port that is free."""
        words = shlex.split(self.block("build/release/bench/sink").replace(":2525", f":{self.port}"))
        sink = subprocess.Popen(words, cwd=self.dir, stdout=subprocess.PIPE, text=True, start_new_session=True,
                                preexec_fn=die_with_parent)
        self.running.append(sink)
        self.assertTrue(sink.stdout.readline().startswith("ready "))
        return sink

    def commands(self):
        """serve and what needs a terminal of its own is left out."""
        for block in examples():
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("build/release/hikyaku "):
                    yield line

    def test_every_example_works_as_typed(self):
        receiver = self.prepare()
        sink = self.start_sink()
        ran = 0
        for line in self.commands():
            words = shlex.split(line, comments=True)
            if words[1] == "serve":
                continue
            done = subprocess.run(words, cwd=self.dir, capture_output=True, text=True, timeout=90, check=False,
                                  stdin=subprocess.DEVNULL)
            name = next((n for n in EXPECT if " ".join(words[1:3]).startswith(n)), "")
            with self.subTest(line):
                self.assertIn(done.returncode, EXPECT.get(name, (0,)), done.stdout[-1000:] + done.stderr[-2000:])
                self.assertNotIn("; write: hikyaku", done.stderr)
            ran += 1
        self.assertGreater(ran, 10)
        sink.terminate()
        self.assertRegex(sink.communicate(timeout=20)[0], r"(?m)^ +2  accepted ")
        self.stop_receivers()
        self.assertEqual(receiver.taken()["hanako@example.net"], 1)
        self.assertEqual(receiver.taken()["zoe@example.org"], 1)


if __name__ == "__main__":
    harness.main()
