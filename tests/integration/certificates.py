"""Certificates for tests: an authority of our own, and leaves of every kind.

    ca = Authority(folder)                      ca.file is what tls { ca_file } wants
    good = ca.leaf("good", ["mx.test"])         a Leaf: files .certificate (with the authority's) and .key
    old = ca.leaf("old", ["mx.test"], expired=True)
    own = self_signed(folder, "own", ["mx.test"])
    good.tlsa(3, 1, 1)                          the record data of a leaf; ca.tlsa(2, 0, 1) of the authority

Nothing here is a test.
"""
import datetime
import hashlib
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM


def _builder(subject, issuer, key, expired):
    now = datetime.datetime.utcnow()
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - 30 * DAY)
            .not_valid_after(now - DAY if expired else now + 30 * DAY))


def _name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


class Leaf:
    def __init__(self, folder, name, key, certificate, chain=()):
        self.x509 = certificate
        self.certificate, self.key = os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key")
        with open(self.certificate, "wb") as f:
            f.write(b"".join(c.public_bytes(PEM) for c in (certificate, *chain)))
        with open(self.key, "wb") as f:
            f.write(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    def tlsa(self, usage, selector, matching):
        data = self.x509.public_bytes(serialization.Encoding.DER) if selector == 0 else \
            self.x509.public_key().public_bytes(serialization.Encoding.DER,
                                                serialization.PublicFormat.SubjectPublicKeyInfo)
        data = {0: lambda b: b, 1: lambda b: hashlib.sha256(b).digest(),
                2: lambda b: hashlib.sha512(b).digest()}[matching](data)
        return f"{usage} {selector} {matching} {data.hex()}"


def _leaf_builder(builder, names):
    return builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)


def self_signed(folder, name, names):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(names[0])
    return Leaf(folder, name, key, _leaf_builder(_builder(subject, subject, key, False), names)
                .sign(key, hashes.SHA256()))


class Authority(Leaf):
    def __init__(self, folder, name="authority"):
        self.folder = folder
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.subject = _name("The authority of a test")
        certificate = _builder(self.subject, self.subject, self.private, False).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(self.private, hashes.SHA256())
        super().__init__(folder, name, self.private, certificate)
        self.file = self.certificate

    def leaf(self, name, names, expired=False):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _leaf_builder(_builder(_name(names[0]), self.subject, key, expired), names).sign(
            self.private, hashes.SHA256())
        return Leaf(self.folder, name, key, certificate, [self.x509])
