#!/usr/bin/python3
"""Exim and OpenSMTPD as private receivers, with the calls of postfix.py: real MTAs on a loopback address and port.

    with Exim("127.0.0.6", 2525) as mta:
        ... send ...
        mta.wait(3)
        for recipient, content in mta.messages():
            ...

Their packages conflict with Postfix', so they are unpacked by scripts/mtas and run in a mount namespace of their own:
there their users exist, and the folders whose names are compiled in are the test's. They take all mail, for whomever, and
send none. Needs root, as they do. The main process dies with its parent, and stop() ends it by its pid.
"""
import email
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from nsd import die_with_parent

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
UNPACKED = os.path.join(ROOT, "build", "mtas")
READY_SECONDS = 20
STOP_SECONDS = 10
FIRST_ID = 64900  # of users and groups that are only there inside the namespace
ADDED_ON_TOP = {b"return-path", b"delivered-to", b"envelope-to", b"x-original-to", b"received"}


def sent_bytes(content):
    """The message as the sender wrote it: without the fields that a receiver put on top."""
    while content.split(b":", 1)[0].lower() in ADDED_ON_TOP:
        end = content.index(b"\r\n") + 2
        while content[end:end + 1] in (b" ", b"\t"):
            end = content.index(b"\r\n", end) + 2
        content = content[end:]
    return content


def make_certificate(folder, hostname, address):
    """folder/cert.pem and folder/key.pem, good for two days."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={hostname}",
                    "-addext", f"subjectAltName=DNS:{hostname},IP:{address}", "-keyout", f"{folder}/key.pem", "-out",
                    f"{folder}/cert.pem"], check=True, capture_output=True)
    os.chmod(f"{folder}/key.pem", 0o600)


class Mta:
    """What the two have in common."""
    package, users = "", ()

    def __init__(self, address, port, hostname=None, tls=True):
        self.address, self.port, self.tls = address, port, tls
        self.hostname = hostname or f"mx.{self.package}.test"
        self.process, self.dir = None, None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()

    def start(self):
        if os.geteuid() != 0:
            raise RuntimeError(f"{self.package} needs root")
        subprocess.run([os.path.join(ROOT, "scripts", "mtas"), UNPACKED], check=True)
        self.dir = tempfile.mkdtemp(prefix=self.package + "-")
        os.chmod(self.dir, 0o755)
        for name in ("etc", "mail", "mail/new", "mail/cur", "mail/tmp", "spool", "log"):
            os.mkdir(self.path(name), 0o755)
        self.ids = self._make_users()
        if self.tls:
            make_certificate(self.path("etc"), self.hostname, self.address)
        with open(self.path("output"), "wb") as output:
            self.process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c",
                                             self._prepare()], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True, preexec_fn=die_with_parent)
        if not self._wait_ready():
            words = self.log()
            self.stop()
            raise RuntimeError(f"{self.package} does not start: {words}")
        return self

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)  # its own session: only its own children
                self.process.wait()
            self.process = None
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir = None

    def path(self, *name):
        return os.path.join(self.dir, *name)

    def unpacked(self, name):
        return os.path.join(UNPACKED, self.package, name)

    def count(self):
        """Messages delivered so far."""
        return len(os.listdir(self.path("mail", "new")))

    def wait(self, count, seconds=30):
        """Until `count` messages are delivered; the number that is there in the end."""
        deadline = time.monotonic() + seconds
        while self.count() < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.count()

    def messages(self):
        """[(recipient, content)] of what was delivered, in no order, CRLF line ends, with the receiver's fields on top."""
        found = []
        for name in sorted(os.listdir(self.path("mail", "new"))):
            with open(self.path("mail", "new", name), "rb") as f:
                content = f.read().replace(b"\n", b"\r\n")
            head = email.message_from_bytes(content.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n")
            found.append((head["Delivered-To"] or head["Envelope-To"], content))
        return found

    def log(self):
        text = ""
        for name in ["output"] + [os.path.join("log", n) for n in os.listdir(self.path("log"))]:
            with open(self.path(name), encoding="utf-8", errors="replace") as f:
                text += f.read()
        return text

    def write(self, name, text):
        with open(self.path("etc", name), "w", encoding="utf-8") as f:
            f.write(text)

    def _make_users(self):
        """The system's users and the package's, whose names are compiled in."""
        ids = {}
        shutil.copyfile("/etc/passwd", self.path("etc", "passwd"))
        shutil.copyfile("/etc/group", self.path("etc", "group"))
        with open(self.path("etc", "passwd"), "a", encoding="utf-8") as passwd, \
                open(self.path("etc", "group"), "a", encoding="utf-8") as group:
            for number, user in enumerate(self.users, FIRST_ID):
                try:
                    ids[user] = pwd.getpwnam(user).pw_uid
                except KeyError:
                    ids[user] = number
                    passwd.write(f"{user}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n")
                try:
                    grp.getgrnam(user)
                except KeyError:
                    group.write(f"{user}:x:{number}:\n")
        return ids

    def _prepare(self):
        """A shell script: make the namespace, then become the server."""
        return (f"mount --bind {self.path('etc', 'passwd')} /etc/passwd\n"
                f"mount --bind {self.path('etc', 'group')} /etc/group\n" + self._begin())

    def _begin(self):
        raise NotImplementedError

    def _wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection((self.address, self.port), 2) as s:
                    if s.recv(512).startswith(b"220 "):
                        s.sendall(b"QUIT\r\n")
                        return True
            except OSError:
                time.sleep(0.05)
        return False


EXIM = """\
exim_path = {program}
spool_directory = {dir}/spool
log_file_path = {dir}/log/%slog
pid_file_path = {dir}/spool/pid
primary_hostname = {hostname}
disable_ipv6 = true
local_interfaces = {address}
daemon_smtp_ports = {port}
tls_advertise_hosts = {tls}
tls_certificate = {dir}/etc/cert.pem
tls_privatekey = {dir}/etc/key.pem
deliver_drop_privilege = true
never_users =
acl_smtp_rcpt = accept
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
message_size_limit = 50M
host_lookup =
rfc1413_hosts =
keep_environment =
begin routers
all:
  driver = accept
  transport = folder
begin transports
folder:
  driver = appendfile
  directory = {dir}/mail
  maildir_format
  message_prefix =
  message_suffix =
  return_path_add
  envelope_to_add
  user = Debian-exim
"""


class Exim(Mta):
    """Checks that a client sends nothing before its turn (smtp_enforce_sync), and offers PIPELINING."""
    package, users = "exim4", ("Debian-exim",)

    def _begin(self):
        program = self.unpacked("usr/sbin/exim4")
        self.write("exim.conf", EXIM.format(program=program, dir=self.dir, hostname=self.hostname, address=self.address,
                                            port=self.port, tls="*" if self.tls else ""))
        owner = self.ids["Debian-exim"]
        for name in ("mail", "mail/new", "mail/cur", "mail/tmp", "spool", "log"):
            os.chown(self.path(name), owner, -1)
        if self.tls:
            os.chown(self.path("etc", "key.pem"), owner, -1)
        return f"exec {program} -bdf -C {self.path('etc', 'exim.conf')}\n"


class OpenSmtpd(Mta):
    """Offers no PIPELINING, and by default ends a session after 100 messages.

    lines: of smtpd.conf, instead of those that deliver into the folder."""
    package, users = "opensmtpd", ("opensmtpd", "opensmtpq")

    def __init__(self, address, port, hostname=None, tls=True, lines=None):
        super().__init__(address, port, hostname, tls)
        self.lines = lines

    def _begin(self):
        nobody = pwd.getpwnam("nobody")
        for name in ("mail", "mail/new", "mail/cur", "mail/tmp"):
            os.chown(self.path(name), nobody.pw_uid, -1)
        listen = f"listen on {self.address} port {self.port}"
        if self.tls:
            listen = (f'pki "{self.hostname}" cert "{self.path("etc", "cert.pem")}"\n'
                      f'pki "{self.hostname}" key "{self.path("etc", "key.pem")}"\n'
                      f'{listen} tls pki "{self.hostname}"')
        lines = self.lines or (f'action "in" maildir "{self.path("mail")}" virtual <everyone>\n'
                               'match from any for any action "in"\n')
        self.write("smtpd.conf", f'table everyone {{ "@" = "{nobody.pw_name}" }}\n{listen} hostname {self.hostname}\n{lines}')
        os.mkdir(self.path("spool", "smtpd"), 0o711)
        return (f"mount --bind {self.unpacked('usr/libexec')} /usr/libexec\n"
                f"mount --bind {self.path('spool')} /var/spool\n"
                "mount -t tmpfs none /var/lib\n"
                "mkdir -p /var/lib/opensmtpd/empty\n"
                "mount -t tmpfs none /run\n"
                f"exec {self.unpacked('usr/sbin/smtpd')} -d -f {self.path('etc', 'smtpd.conf')}\n")
