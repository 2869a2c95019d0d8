"""Signed DNS zones for tests: signed("test", text) -> (zone text for nsd.Nsd, trust anchor text), with ldns-signzone.

The keys are made for each zone and thrown away. forged() changes a record behind its signature's back. Nothing here is a test.
"""
import os
import re
import shutil
import subprocess
import tempfile

from nsd import zone_text


def signed(origin, text):
    folder = tempfile.mkdtemp(prefix="zone-")
    try:
        key = subprocess.run(["ldns-keygen", "-a", "ECDSAP256SHA256", "-k", "-r", "/dev/urandom", origin], cwd=folder,
                             capture_output=True, text=True, check=True).stdout.strip()
        with open(os.path.join(folder, "zone"), "w", encoding="utf-8") as f:
            f.write(f"$ORIGIN {origin}.\n" + zone_text(text))
        subprocess.run(["ldns-signzone", "-o", origin + ".", "-f", "signed", "zone", key], cwd=folder, check=True,
                       capture_output=True, text=True)
        with open(os.path.join(folder, "signed"), encoding="utf-8") as zone, \
                open(os.path.join(folder, key + ".key"), encoding="utf-8") as anchor:
            return zone.read(), anchor.read()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def forged(zone, name, kind, before, after):
    """The zone with one record changed after it was signed: bogus to whoever looks."""
    pattern = re.compile(rf"^({re.escape(name)}\.\s+\d+\s+IN\s+{kind}\s.*?){re.escape(before)}", re.MULTILINE)
    changed, count = pattern.subn(lambda m: m.group(1) + after, zone)
    if count != 1:
        raise RuntimeError(f"{count} records {kind} of {name} with {before!r}")
    return changed
