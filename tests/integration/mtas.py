#!/usr/bin/python3
"""Exim and OpenSMTPD as private receivers, with the calls of postfix.py: real MTAs on a loopback address and port.

    with Exim("127.0.0.6", 2525) as mta:
        ... send ...
        mta.wait(3)
        for recipient, content in mta.messages():
            ...

Their packages conflict with Postfix', so they are unpacked by scripts/mtas and run in a mount namespace of their own:
there their users exist, and the folders whose names are compiled in are the test's. They take all mail, for whomever, and
send none. How they run stands in mta.py.
"""
import grp
import os
import pwd
import shutil
import subprocess

from mta import Mta

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
UNPACKED = os.path.join(ROOT, "build", "mtas")
FIRST_ID = 64900  # of users and groups that are only there inside the namespace


class Unpacked(Mta):
    """What the two have in common."""
    users = ()

    def __init__(self, address, port, hostname=None, tls=True):
        super().__init__(address, port, hostname or f"mx.{self.software}.test", tls)
        self.ids = {}

    def check(self):
        subprocess.run([os.path.join(ROOT, "scripts", "mtas"), UNPACKED], check=True)

    def make_folders(self):
        for name in ("etc", "mail", "mail/new", "mail/cur", "mail/tmp", "spool", "log"):
            os.mkdir(self.path(name), 0o755)
        self.ids = self._make_users()

    def configure(self):
        return ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", self._prepare()]

    def logs(self):
        return [os.path.join("log", name) for name in os.listdir(self.path("log"))]

    def unpacked(self, name):
        return os.path.join(UNPACKED, self.software, name)

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


EXIM = """\
exim_path = {program}
spool_directory = {dir}/spool
log_file_path = {dir}/log/%slog
pid_file_path = {dir}/spool/pid
primary_hostname = {hostname}
disable_ipv6 = true
local_interfaces = {address}
daemon_smtp_ports = {ports}
tls_advertise_hosts = {tls}
tls_certificate = {dir}/etc/cert.pem
tls_privatekey = {dir}/etc/key.pem
deliver_drop_privilege = true
never_users =
{accepts}smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
host_lookup =
{settings}rfc1413_hosts =
keep_environment =
begin routers
{routers}all:
  driver = accept
  transport = folder
begin transports
{transports}folder:
  driver = appendfile
  directory = {dir}/mail
  maildir_format
  message_prefix =
  message_suffix =
  return_path_add
  envelope_to_add
  user = Debian-exim
{sections}"""
EXIM_ACCEPTS = "acl_smtp_rcpt = accept\nmessage_size_limit = 50M\n"


class Exim(Unpacked):
    """Checks that a client sends nothing before its turn (smtp_enforce_sync), and offers PIPELINING.

    settings: more lines of its main section; ports: where it listens beside `port`; accepts: what it takes, instead of all up to 50 MB; routers, transports: those before
    the one that delivers into the folder; sections: what comes behind."""
    software, users = "exim4", ("Debian-exim",)

    def __init__(self, address, port, hostname=None, tls=True, settings="", ports=(), **parts):
        super().__init__(address, port, hostname, tls)
        self.ports = [port, *ports]
        self.parts = {"accepts": EXIM_ACCEPTS, "routers": "", "transports": "", "sections": "", "settings": settings, **parts}

    def _begin(self):
        program = self.unpacked("usr/sbin/exim4")
        self.write("exim.conf", EXIM.format(program=program, dir=self.dir, hostname=self.hostname, address=self.address,
                                            ports=" : ".join(map(str, self.ports)), tls="*" if self.tls else "", **self.parts))
        owner = self.ids["Debian-exim"]
        for name in ("mail", "mail/new", "mail/cur", "mail/tmp", "spool", "log"):
            os.chown(self.path(name), owner, -1)
        if self.tls:
            os.chown(self.path("etc", "key.pem"), owner, -1)
        return f"exec {program} -bdf -C {self.path('etc', 'exim.conf')}\n"


class OpenSmtpd(Unpacked):
    """Offers no PIPELINING, and by default ends a session after 100 messages.

    lines: of smtpd.conf, instead of those that deliver into the folder ({mail}); filter: a program that all mail has to pass."""
    software, users = "opensmtpd", ("opensmtpd", "opensmtpq")

    def __init__(self, address, port, hostname=None, tls=True, lines=None, filter=None):
        super().__init__(address, port, hostname, tls)
        self.lines, self.filter = lines, filter

    def _begin(self):
        nobody = pwd.getpwnam("nobody")
        for name in ("mail", "mail/new", "mail/cur", "mail/tmp"):
            os.chown(self.path(name), nobody.pw_uid, -1)
        listen = f"listen on {self.address} port {self.port}"
        if self.tls:
            listen = (f'pki "{self.hostname}" cert "{self.path("etc", "cert.pem")}"\n'
                      f'pki "{self.hostname}" key "{self.path("etc", "key.pem")}"\n'
                      f'{listen} tls pki "{self.hostname}"')
        filters = ""
        if self.filter:
            filters = f'filter "own" proc-exec "{self.filter}"\n'
            listen += ' filter "own"'
        lines = self.lines or 'action "in" maildir "{mail}" virtual <everyone>\nmatch from any for any action "in"\n'
        lines = lines.replace("{mail}", self.path("mail"))
        self.write("smtpd.conf", f'table everyone {{ "@" = "{nobody.pw_name}" }}\n{filters}{listen} hostname {self.hostname}\n{lines}')
        os.mkdir(self.path("spool", "smtpd"), 0o711)
        return (f"mount --bind {self.unpacked('usr/libexec')} /usr/libexec\n"
                f"mount --bind {self.path('spool')} /var/spool\n"
                "mount -t tmpfs none /var/lib\n"
                "mkdir -p /var/lib/opensmtpd/empty\n"
                "mount -t tmpfs none /run\n"
                f"exec {self.unpacked('usr/sbin/smtpd')} -d -f {self.path('etc', 'smtpd.conf')}\n")
