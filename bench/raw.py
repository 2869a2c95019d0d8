"""raw.py - the machine, and what one core of it can do at all: signatures, SHA-256, and the bare SMTP loop (blast)."""
import json
import os
import platform
import re
import subprocess

from campaign import Delay, Failed, Sink, cpu_of, middle_step_ms, output
from cases import CASES

CONNECTIONS = 64
FAR_MESSAGES = 50
EACH = 5  # so many times as much is a message with a connection of its own, about


def version(command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except OSError:
        return None
    return done.stdout.split("\n")[0].split(" (")[0].strip()


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*:\s*(.*)", f.read())
    with open("/proc/meminfo", encoding="utf-8") as f:
        memory = re.search(r"MemTotal:\s*(\d+) kB", f.read())
    return {"cpu": model.group(1) if model else platform.machine(), "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": int(memory.group(1)) * 1024, "kernel": platform.release(),
            "openssl": version(["openssl", "version"]), "load": round(os.getloadavg()[0], 2)}


def versions():
    redis = version(["redis-server", "--version"]) or ""
    return {"openssl": (version(["openssl", "version"]) or "").partition(" ")[2].partition(" ")[0], "redis": (re.findall(r"v=(\S+)", redis) or [None])[0],
            "nsd": (version(["/usr/sbin/nsd", "-v"]) or "").rpartition(" ")[2], "python": platform.python_version()}


def signatures(name, seconds):
    """Signatures a second of one core. openssl speed -mr gives seconds for one, or (before 3.0) how many a second."""
    text = output(["openssl", "speed", "-mr", "-seconds", str(seconds), name])
    found = re.search(r"^\+F[26]:\d+:\d+:(?:Ed25519:)?([\d.e+-]+):", text, re.MULTILINE)
    if not found:
        raise Failed(f"openssl speed -mr {name} prints something that is not understood")
    sign = float(found.group(1))
    return round(1 / sign if sign < 1 else sign)


def _sha256(seconds):
    text = output(["openssl", "speed", "-mr", "-seconds", str(seconds), "-bytes", "16384", "-evp", "sha256"])
    found = re.search(r"^\+F:\d+:[^:]*:([\d.e+]+)", text, re.MULTILINE | re.IGNORECASE)
    if not found:
        raise Failed("openssl speed -mr sha256 prints something that is not understood")
    return float(found.group(1))


def bare_loop(build, messages, *options):
    """What blast reaches with the same sink; 10 KB."""
    with Sink(build, *(["--tls", "auto"] if "--tls" in options else []), "--quiet", log=False) as sink:
        figures = json.loads(output([os.path.join(build, "bench", "blast"), "--to", f"127.0.0.1:{sink.ports[0]}", "--messages",
                                     str(messages), "--connections", str(CONNECTIONS), *options]))
        sink_cpu = cpu_of(sink.process.pid)
    figures["sink_messages_per_cpu_second"] = round(messages / sink_cpu) if sink_cpu else None
    return figures


def far_loop(build, messages, delay_ms):
    """The bare loop over one connection through the proxy: messages a second from the first accepted one to the last, and the
    time between two of them, in ms, in the middle."""
    with Sink(build, "--quiet") as sink:
        far = Delay("127.0.0.1", sink.ports[0], delay_ms / 2000)
        try:
            output([os.path.join(build, "bench", "blast"), "--to", f"127.0.0.1:{far.port}", "--messages", str(messages),
                    "--connections", "1"])
        finally:
            far.stop()
        times = [line.time_us for line in sink.log() if line.event == "accepted"]
    return round((messages - 1) * 1e6 / (times[-1] - times[0]), 3), middle_step_ms(times)


def measure(build, seconds, messages):
    far, between_ms = far_loop(build, FAR_MESSAGES, CASES["far"].delay_ms)
    return {"rsa2048_sign_per_second": signatures("rsa2048", seconds),
            "ed25519_sign_per_second": signatures("ed25519", seconds), "sha256_bytes_per_second": _sha256(seconds),
            "bare_loop": {"plain": bare_loop(build, messages), "tls": bare_loop(build, messages, "--tls"),
                          "connection_each": bare_loop(build, messages // EACH, "--connection-each")},
            "far_messages_per_second": far, "far_between_ms": between_ms}
