#!/usr/bin/python3
"""Judge rendered copies by other people's code: python3-dkim verifies both signatures, the standard library
parses headers and parts. dkim_copies puts down what has to be in them.

usage: dkim_verify.py BUILD_FOLDER
"""
import base64
import email
import email.header
import email.policy
import json
import os
import re
import subprocess
import sys
import tempfile

import dkim

ONCE = ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type",
        "List-Unsubscribe", "List-Unsubscribe-Post", "List-ID"]
ALLOWED = {"dkim-signature", "date", "message-id", "list-unsubscribe", "from", "to", "reply-to", "cc", "subject",
           "x-name", "x-raw", "mime-version", "list-unsubscribe-post", "list-id", "content-type",
           "content-transfer-encoding"}


def words(value):
    """Blanks of any number are one: folding may not be seen."""
    return re.sub(r"\s+", " ", value).strip()


def decoded(value):
    return words(str(email.header.make_header(email.header.decode_header(value))))


def dns_of(folder):
    records = {}
    for line in json.load(open(os.path.join(folder, "records.json"))).values():
        owner, rest = line.split(" IN TXT ", 1)
        strings = re.findall(r'"([^"]*)"', rest)
        assert all(len(s) <= 255 for s in strings), line
        records[owner.encode()] = "".join(strings).encode()

    def lookup(name, timeout=5):
        name = name if isinstance(name, bytes) else name.encode()
        return records.get(name) or records.get(name.rstrip(b".") + b".")
    return lookup


def check_wire(raw):
    head = raw.split(b"\r\n\r\n", 1)[0]
    assert b"\n" not in raw.replace(b"\r\n", b"") and b"\r" not in raw.replace(b"\r\n", b""), "a bare CR or LF"
    assert raw.endswith(b"\r\n"), "does not end in CRLF"
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998, "a line over 998"
    assert all(b < 128 for b in raw), "8-bit octets"
    assert all(line.strip() for line in head.split(b"\r\n")), "a blank line in the header"
    long = [line for line in head.split(b"\r\n") if len(line) > 78 and b" " in line.strip()[:60]
            and not re.match(rb"[A-Za-z-]+: \S+$", line)]
    assert not long, "a line that could be folded: %r" % long[0][:120]


def check_headers(message, headers):
    names = [name.lower() for name in message.keys()]
    assert set(names) <= ALLOWED, "an injected header: %s" % (set(names) - ALLOWED)
    assert names.count("dkim-signature") == 2
    for name in ONCE:
        assert names.count(name.lower()) == 1, "%s stands %d times" % (name, names.count(name.lower()))
    for key, value in headers.items():
        kind, _, name = key.rpartition(":")
        raw = message[name]
        if kind == "":
            assert decoded(raw) == words(value), "%s: %r is not %r" % (name, decoded(raw), words(value))
            continue
        pairs = email.utils.getaddresses([re.sub(r"\r\n", "", raw)])
        assert len(pairs) == 1, "%s has %d mailboxes: %r" % (name, len(pairs), raw)
        got = pairs[0][1] if kind == "address" else decoded(pairs[0][0])
        assert got == words(value), "%s %s: %r is not %r" % (name, kind, got, words(value))
    assert re.fullmatch(r"<https://u\.example\.com/\?t=[a-z2-7]+>", message["List-Unsubscribe"])
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert email.utils.parsedate_to_datetime(message["Date"]).timestamp() == 1795000000
    return message["Message-ID"]


def check_parts(message, parts):
    leaves = [part for part in message.walk() if not part.is_multipart()]
    assert len(leaves) == len(parts), "%d parts, not %d" % (len(leaves), len(parts))
    for leaf, part in zip(leaves, parts):
        assert leaf.get_content_type() == part["type"]
        payload = leaf.get_payload(decode=True)
        want = part["text"].encode() if "text" in part else base64.b64decode(part["base64"])
        if not message.is_multipart() and leaf["Content-Transfer-Encoding"] != "base64" and want[-1:] not in b"\n":
            want += b"\r\n"  # a message ends in a line end; one is added where the text has none
        assert payload == want, "%s: %r is not %r" % (part["type"], payload[:300], want[:300])


def check_copy(folder, number, lookup, ids):
    case = json.load(open(os.path.join(folder, "%d.json" % number)))
    raw = open(os.path.join(folder, "%d.eml" % number), "rb").read()
    try:
        check_wire(raw)
        message = email.message_from_bytes(raw, policy=email.policy.compat32)
        ids.add(check_headers(message, case["headers"]))
        check_parts(message, case["parts"])
        signatures = dkim.DKIM(raw)
        assert signatures.verify(idx=0, dnsfunc=lookup), "the first signature is wrong"
        assert signatures.verify(idx=1, dnsfunc=lookup), "the second signature is wrong"
        if number % 8 != 0:  # tampering is the same for all: a sample will do
            return
        for header in ("List-Unsubscribe", "List-Unsubscribe-Post", "List-ID", "Date", "To"):
            tampered = re.sub(rb"(?m)^%s:.*\r\n(?:[ \t].*\r\n)*" % header.encode(), b"", raw, count=1)
            assert not dkim.verify(tampered, dnsfunc=lookup), "%s is not signed" % header
        assert not dkim.verify(b"From: x@example.com\r\n" + raw, dnsfunc=lookup), "a second From can be added"
    except Exception as error:
        raise SystemExit("copy %d (%s) in %s: %s: %s" % (number, case["name"], folder, type(error).__name__, error))


def main():
    with tempfile.TemporaryDirectory(prefix="hikyaku-dkim-") as folder:
        program = os.path.join(sys.argv[1], "message", "dkim_copies")
        count = int(subprocess.run([program, "make", folder], check=True, stdout=subprocess.PIPE).stdout.split()[0])
        assert count > 200
        lookup, ids = dns_of(folder), set()
        for number in range(count):
            check_copy(folder, number, lookup, ids)
        assert len(ids) == count, "a Message-ID stands on two copies"
        print("%d copies verified" % count)


if __name__ == "__main__":
    main()
