"""The nginx example of docs/web.md, as it is written there: nginx takes it, and a reader's one click goes through it over TLS.

Addresses, ports and certificates are the test's own; nothing else of the example is changed.
"""
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import textwrap

import harness
import web
from certificates import Authority
from harness import ROOT, wait_for
from nsd import die_with_parent

NGINX = "/usr/sbin/nginx"
HOST = "u.example.com"
AROUND = """\
daemon off;
master_process off;
{user}
pid {dir}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    scgi_temp_path {dir}/nginx-scgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
{server}}}
"""


def example():
    with open(os.path.join(ROOT, "docs", "web.md"), encoding="utf-8") as f:
        block, = re.findall(r"^The path goes[^\n]*:\n\n((?:    .*\n)+)", f.read(), re.M)
    return textwrap.dedent(block)


class Behind(web.Case):
    def adapted(self):
        """The example with what only this test has."""
        leaf = Authority(self.dir, "proxy").leaf("front", [HOST])
        self.ca = self.path("proxy.pem")
        self.https_port = self._free_port()
        text = example()
        for old, new in (("listen 443 ssl", f"listen 127.0.0.1:{self.https_port} ssl"), ("http://127.0.0.1:8080", f"http://127.0.0.1:{self.http_port}"),
                         (f"/etc/letsencrypt/live/{HOST}/fullchain.pem", leaf.certificate),
                         (f"/etc/letsencrypt/live/{HOST}/privkey.pem", leaf.key)):
            self.assertEqual(text.count(old), 1, old)
            text = text.replace(old, new)
        return text

    def begin_nginx(self):
        path = self.write("nginx.conf", AROUND.format(dir=self.dir, server=self.adapted(), user="user root;" if os.getuid() == 0 else ""))
        words = [NGINX, "-p", self.dir, "-e", "stderr", "-c", path]
        checked = subprocess.run([*words, "-t"], capture_output=True, text=True, timeout=60)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertNotIn("[warn]", checked.stderr)
        nginx = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent)
        self.addCleanup(nginx.wait, 60)
        self.addCleanup(nginx.send_signal, signal.SIGTERM)

        def answers():
            self.assertIsNone(nginx.poll(), "nginx has ended")
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.https_port)) == 0
        wait_for(answers, 60, "nginx")

    def request(self, method, path, body=None, headers=None):
        context = ssl.create_default_context(cafile=self.ca)
        connection = http.client.HTTPSConnection("127.0.0.1", self.https_port, timeout=60, context=context)
        context.check_hostname = False  # it is asked for by its address
        try:
            connection.request(method, path, body, {"Host": HOST, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def test_the_example_is_taken_and_one_click_goes_through_it(self):
        # RFC 8058 3.2: no redirect, no cookie
        self.world(more='sns { topics = { "arn:aws:sns:ap-northeast-1:123456789012:ses-events" } }')
        path = self.copies()["u0@a.test"][0]
        self.serve()
        self.begin_nginx()
        status, headers, page = self.request("GET", path, headers={"Accept-Language": "ja"})
        self.assertEqual((status, headers["Content-Language"]), (200, "ja"), page)
        self.assertIn("<form", page)
        self.check("u0@a.test", 0)
        status, headers, page = self.one_click(path)
        self.assertEqual(status, 200, page)
        self.assertIsNone(headers["Location"])
        self.assertIsNone(headers["Set-Cookie"])
        self.check("u0@a.test", 1)
        self.check("u1@a.test", 0)
        # As large as SNS' messages may be: it comes to us, who know that nobody signed it. Larger is nginx' own to refuse.
        self.assertEqual(self.request("POST", "/sns", "x" * 900000, {"Content-Type": "text/plain"})[0], 400)
        self.assertEqual(self.request("POST", "/sns", "x" * 1100000, {"Content-Type": "text/plain"})[0], 413)


if __name__ == "__main__":
    harness.main()
