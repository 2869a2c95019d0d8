"""Amazon SNS as a test plays it: an authority, a signing certificate, a web server for it behind a proxy, and signed messages.

    sns = Sns(folder)                     # a CA of its own; sns.ca_file
    sns.connects                          # ["HOST:PORT", ...]: every connection that was asked of sns.proxy, in order
    sns.requests                          # ["GET PATH", ...]: what the web server behind it was asked for
    sns.message("text", version="2")      # a signed envelope, as a dict

Whatever host is asked for, the proxy connects to the one web server, which shows a certificate for sns.us-east-1.amazonaws.com:
a request to another host would be seen, and would be answered.
"""
import base64
import datetime
import http.server
import itertools
import json
import os
import socket
import ssl
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

HOST = "sns.us-east-1.amazonaws.com"
TOPIC = "arn:aws:sns:us-east-1:123456789012:bounces"
CERT_PATH = "/SimpleNotificationService-0123456789abcdef.pem"
SIGNED = {"Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
          None: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")}


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


class Authority:
    def __init__(self, name="Test Root"):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.certificate = self.issue(name, self.key, None, is_ca=True)

    def issue(self, name, key, names, is_ca=False, days=(-1, 30)):
        now = datetime.datetime.utcnow()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = self.certificate.subject if hasattr(self, "certificate") else subject
        made = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now + datetime.timedelta(days=days[0]))
                .not_valid_after(now + datetime.timedelta(days=days[1]))
                .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), True))
        if names:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
        return made.sign(self.key, hashes.SHA256())


class Sns:
    numbers = itertools.count(1)

    def __init__(self, folder):
        self.authority = Authority()
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.certificate = self.authority.issue("sns.amazonaws.com", self.key, ["sns.amazonaws.com"])
        self.ca_file = os.path.join(folder, "sns-ca.pem")
        with open(self.ca_file, "wb") as f:
            f.write(pem(self.authority.certificate))
        self.connects, self.requests = [], []
        self.pages = {CERT_PATH: (200, pem(self.certificate))}
        self.confirm = 200
        self.slow_s = 0  # before each answer of the web server
        self._serve_https(folder)
        self._serve_proxy()

    # ---- servers ----

    def _serve_https(self, folder):
        played = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                played.requests.append("GET " + self.path)
                time.sleep(played.slow_s)
                status, body = played.pages.get(self.path, (404, b"none"))
                if self.path.startswith("/?Action=ConfirmSubscription&"):
                    status, body = played.confirm, b"<ConfirmSubscriptionResponse/>"
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "https://evil.example/x.pem")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        certificate = self.authority.issue(HOST, key, [HOST, "evil.example", "sns.eu-west-1.amazonaws.com"])
        file = os.path.join(folder, "https.pem")
        with open(file, "wb") as f:
            f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                                      serialization.NoEncryption()) + pem(certificate))
        self.https = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.https.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        self.https.socket = context.wrap_socket(self.https.socket, server_side=True)
        threading.Thread(target=self.https.serve_forever, daemon=True).start()

    def _serve_proxy(self):
        self._listen = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.proxy = f"http://127.0.0.1:{self._listen.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listen.accept()
            except OSError:
                return
            client.settimeout(30)
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client):
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(4096)
                if not piece:
                    return
                head += piece
            self.connects.append(head.split()[1].decode())
            with socket.create_connection(self.https.server_address[:2], timeout=30) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
                back.start()
                self._copy(client, server)
                back.join()

    @staticmethod
    def _copy(one, other):
        try:
            while piece := one.recv(65536):
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        self.https.shutdown()
        self.https.server_close()
        self._listen.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept()
        self._listen.close()

    # ---- messages ----

    def sign(self, message, key=None):
        names = SIGNED.get(message["Type"], SIGNED[None])
        text = "".join(f"{n}\n{message[n]}\n" for n in names if n in message).encode()
        digest = hashes.SHA1() if message["SignatureVersion"] == "1" else hashes.SHA256()
        message["Signature"] = base64.b64encode((key or self.key).sign(text, padding.PKCS1v15(), digest)).decode()
        return message

    def message(self, text, version="2", key=None, **more):
        if not isinstance(text, str):
            text = json.dumps(text)
        now = datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%S.000Z")
        message = {"Type": "Notification", "MessageId": f"00000000-0000-0000-0000-{next(self.numbers):012}", "TopicArn": TOPIC,
                   "Message": text, "Timestamp": now, "SignatureVersion": version,
                   "SigningCertURL": f"https://{HOST}{CERT_PATH}", "UnsubscribeURL": f"https://{HOST}/?Action=Unsubscribe"}
        message.update(more)
        return self.sign(message, key)

    def confirmation(self, **more):
        more.setdefault("SubscribeURL", f"https://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37f")
        return self.message("You have chosen to subscribe", Type="SubscriptionConfirmation", Token="2336412f37f", **more)
