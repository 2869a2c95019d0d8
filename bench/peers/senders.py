"""senders.py - the senders that are measured: how each is started, given the list, and ended. Their settings stand beside it.

A mail server runs before the clock starts and is handed ready-made messages by bench/inject; nodemailer and hikyaku are programs
that take the list themselves, and their start counts.
"""
import dataclasses
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.realpath(os.path.join(HERE, "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "bench"), os.path.join(ROOT, "tests", "integration")]
import campaign  # noqa: E402
import cases  # noqa: E402
import mtas  # noqa: E402
import postfix  # noqa: E402

UNPACKED = os.path.join(ROOT, "build", "peers")
CONNECTIONS = 20          # at once to the receiver
FEEDERS = 4               # connections of bench/inject to the server
ADDRESS = "127.0.0.9"     # where a mail server takes messages
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib")


@dataclasses.dataclass
class Job:
    """One run of one sender: files are in folder."""
    build: str
    folder: str
    case: cases.Case
    sink: tuple    # host and port
    listen: tuple  # the same of the mail server
    errors: object # file for what programs say

    def path(self, name):
        return os.path.join(self.folder, name)


def filled(name, words):
    """A file of settings with its @WORD@s filled in; a word without a value is a mistake of ours."""
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return re.sub(r"@([A-Z_]+)@", lambda found: str(words[found.group(1)]), f.read())


def words_of(job, folder):
    """What all files of settings may ask for."""
    return {"DIR": folder, "SINK_HOST": job.sink[0], "SINK_PORT": job.sink[1], "LISTEN_HOST": job.listen[0],
            "LISTEN_PORT": job.listen[1], "CONNECTIONS": CONNECTIONS, "WORD": "WORD"}


def library_path():
    return ":".join(os.path.join(UNPACKED, "root", name) for name in LIBRARIES)


def unpacked_version(package):
    try:
        with open(os.path.join(UNPACKED, "versions"), encoding="utf-8") as f:
            return dict(line.split() for line in f).get(package, "?")
    except OSError:
        return "?"


def mta_version(folder, package):
    """Of what scripts/mtas has unpacked, by its changelog."""
    try:
        with gzip.open(os.path.join(mtas.UNPACKED, folder, "usr/share/doc", package, "changelog.Debian.gz"), "rt") as f:
            return re.search(r"\((\S+)\)", f.readline()).group(1)
    except (OSError, AttributeError):
        return "?"


def first_line(command, pattern):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(pattern, done.stdout)
    return found.group(1) if found else "?"


class Peer:
    """prepare() is not counted; start() and stop() are of what runs all the time; give() starts what hands over the list."""
    name = ""

    def __init__(self, job):
        self.job = job

    def prepare(self):
        if self.job.case.key:
            campaign.output([os.path.join(self.job.build, "hikyaku"), "keygen", "dkim", "--domain", "bench.test", "--selector", "s1",
                             "--type", self.job.case.key, "--out", self.job.path("s1.pem")])

    def start(self):
        pass

    def give(self):
        raise NotImplementedError

    def stop(self):
        pass

    def log(self):
        return ""

    @staticmethod
    def version():
        raise NotImplementedError


# ---- mail servers ----

class Server(Peer):
    """mta: of tests/integration, as a sender."""
    mta = None

    def start(self):
        self.mta.start()

    def give(self):
        job = self.job
        return subprocess.Popen([os.path.join(job.build, "bench", "inject"), "--to", "%s:%d" % job.listen, "--list",
                                 job.path("list.csv"), "--message", job.path("ready.eml"), "--connections", str(FEEDERS)],
                                stdin=subprocess.DEVNULL, stdout=self.job.errors, stderr=self.job.errors)

    def stop(self):
        self.mta.stop()

    def log(self):
        return self.mta.log() if self.mta.dir else ""


class PostfixSender(postfix.Postfix):
    def __init__(self, job):
        super().__init__(*job.listen, [], tls=False)
        self.job, self.milter = job, None

    def configure(self):
        words = {**words_of(self.job, self.dir), "TLS": "encrypt" if self.job.case.tls else "none", "MILTER": ""}
        if self.job.case.key:
            words["MILTER"] = f"unix:{self.path('dkim.sock')}"
            self._start_milter(words)
        for name, settings in (("main.cf", "postfix.cf"), ("master.cf", "postfix.services")):
            with open(self.path("etc", name), "w", encoding="utf-8") as f:
                f.write(filled(settings, words))
        return [postfix.MASTER, "-c", self.path("etc"), "-d"]

    def _start_milter(self, words):
        shutil.copyfile(self.job.path("s1.pem"), self.path("etc", "dkim.pem"))
        shutil.chown(self.path("etc", "dkim.pem"), "postfix")
        shutil.chown(self.dir, "postfix")  # where the socket is made
        for name, text in (("hosts", "0.0.0.0/0\n"), ("opendkim.conf", filled("opendkim.conf", words))):
            with open(self.path("etc", name), "w", encoding="utf-8") as f:
                f.write(text)
        with open(self.path("opendkim.log"), "wb") as log:
            self.milter = subprocess.Popen([os.path.join(UNPACKED, "root/usr/sbin/opendkim"), "-f", "-x",
                                            self.path("etc", "opendkim.conf")], env={**os.environ, "LD_LIBRARY_PATH": library_path()},
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not os.path.exists(self.path("dkim.sock")):
            if self.milter.poll() is not None or time.monotonic() > deadline:
                with open(self.path("opendkim.log"), encoding="utf-8", errors="replace") as f:
                    raise campaign.Failed("opendkim does not start: " + f.read().strip())
            time.sleep(0.05)

    def logs(self):
        return ["log", "opendkim.log"]

    def stop(self):
        if self.milter:
            self.milter.terminate()
            self.milter.wait(10)
            self.milter = None
        super().stop()


class Postfix(Server):
    name = "Postfix"

    def __init__(self, job):
        super().__init__(job)
        self.mta = PostfixSender(job)

    @staticmethod
    def version():
        return first_line(["postconf", "-d", "-h", "mail_version"], r"(\S+)") + ", opendkim " + unpacked_version("opendkim")


EXIM_DKIM = """\
  dkim_domain = bench.test
  dkim_selector = s1
  dkim_private_key = {key}
  dkim_canon = relaxed"""


class EximSender(mtas.Exim):
    def __init__(self, job):
        super().__init__(*job.listen, tls=False)
        self.job = job

    def _begin(self):
        program, owner, key = self.unpacked("usr/sbin/exim4"), self.ids["Debian-exim"], self.path("etc", "dkim.pem")
        dkim = ""
        if self.job.case.key:
            shutil.copyfile(self.job.path("s1.pem"), key)
            os.chown(key, owner, -1)
            os.chmod(key, 0o600)
            dkim = EXIM_DKIM.format(key=key)
        tls = self.job.case.tls
        self.write("exim.conf", filled("exim.conf", {
            **words_of(self.job, self.dir), "PROGRAM": program,
            "TLS_HOSTS": "*" if tls else "", "PLAIN_HOSTS": "" if tls else "*", "DKIM": dkim}))
        for name in ("spool", "log"):
            os.chown(self.path(name), owner, -1)
        # -q: what could not be delivered at once is tried again.
        return f"exec {program} -bdf -q10s -C {self.path('etc', 'exim.conf')}\n"


class Exim(Server):
    name = "Exim"

    def __init__(self, job):
        super().__init__(job)
        self.mta = EximSender(job)

    @staticmethod
    def version():
        return mta_version("exim4", "exim4-daemon-light")


class OpenSmtpdSender(mtas.OpenSmtpd):
    def __init__(self, job):
        super().__init__(*job.listen, tls=False)
        self.job = job

    def _begin(self):
        script = super()._begin()
        words = {**words_of(self.job, self.dir), "FILTER": "", "FILTERED": "", "SCHEME": "smtp+notls", "TLS_CHECK": ""}
        if self.job.case.tls:
            words.update(SCHEME="smtp+tls", TLS_CHECK="tls no-verify")
        if self.job.case.key:
            key = self.path("etc", "dkim.pem")
            shutil.copyfile(self.job.path("s1.pem"), key)
            os.chown(key, self.ids["opensmtpd"], -1)
            os.chmod(key, 0o600)
            program = os.path.join(UNPACKED, "root/usr/libexec/opensmtpd/filter-dkimsign")
            words.update(FILTERED='filter "dkimsign"', FILTER=(
                f'filter "dkimsign" proc-exec "/usr/bin/env LD_LIBRARY_PATH={library_path()} {program} -c relaxed/relaxed '
                f'-d bench.test -s s1 -k {key}" user opensmtpd group opensmtpd'))
        self.write("smtpd.conf", filled("smtpd.conf", words))
        return script


class OpenSmtpd(Server):
    name = "OpenSMTPD"

    def __init__(self, job):
        super().__init__(job)
        self.mta = OpenSmtpdSender(job)

    @staticmethod
    def version():
        return mta_version("opensmtpd", "opensmtpd") + ", filter-dkimsign " + unpacked_version("opensmtpd-filter-dkimsign")


# ---- programs that take the list ----

class Nodemailer(Peer):
    name = "nodemailer"

    def give(self):
        job = self.job
        options = {"library": os.path.join(UNPACKED, "root/usr/share/nodejs/nodemailer"), "host": job.sink[0], "port": job.sink[1],
                   "connections": CONNECTIONS, "tls": job.case.tls, "key": job.path("s1.pem") if job.case.key else "",
                   "list": job.path("list.csv"), "body": job.path("body.txt")}
        return subprocess.Popen(["node", os.path.join(HERE, "nodemailer.js"), json.dumps(options)], stdin=subprocess.DEVNULL,
                                stdout=job.errors, stderr=job.errors)

    @staticmethod
    def version():
        return unpacked_version("node-nodemailer") + ", node " + first_line(["node", "--version"], r"v(\S+)")


class Hikyaku(Peer):
    name = "hikyaku"

    def prepare(self):
        job = self.job
        campaign.write_config(job.folder, os.path.join(job.build, "hikyaku"), job.case, CONNECTIONS,
                              "smtp { port = %d connections = 2000 }\n" % job.sink[1] +
                              'route "*" { relay = "%s:%d" tls = %s }\n' % (*job.sink, "required" if job.case.tls else "none"), None)

    def give(self):
        job = self.job
        return subprocess.Popen([os.path.join(job.build, "hikyaku"), "send", "--config", job.path("bench.conf"), "--campaign",
                                 "bench", "--list", job.path("list.csv"), "--message", job.path("message.eml")],
                                stdin=subprocess.DEVNULL, stdout=job.errors, stderr=job.errors)

    @staticmethod
    def version():
        return None


PEERS = {peer.name: peer for peer in (Hikyaku, Nodemailer, OpenSmtpd, Postfix, Exim)}
