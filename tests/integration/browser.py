"""A chromium without a window, driven over its debugging pipe: what a person would see of a page, and do with it.

    with Browser(folder) as browser:
        page = browser.page("ja")                 # what it says in Accept-Language
        page.open("http://127.0.0.1:8080/u/...")
        page.tell("document.title")               # of any expression
        page.press("button")                      # click, and wait for the page that follows
        page.requests                             # every URL that was asked for
"""
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

from nsd import die_with_parent


class Browser:
    def __init__(self, folder):
        program = shutil.which("chromium")
        assert program, "chromium is missing: run scripts/deps"
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()

        def pipes():
            die_with_parent()
            os.dup2(to_read, 3)
            os.dup2(to_write, 4)

        # Out of the way of 3 and 4, which the program wants for itself.
        to_read, to_write = self._above(to_read), self._above(to_write)
        self._process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
             f"--user-data-dir={os.path.join(folder, 'chromium')}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=pipes,
            start_new_session=True, env={**os.environ, "HOME": folder})
        os.close(to_read)
        os.close(to_write)
        self._number, self._held, self.events = 0, b"", []

    @staticmethod
    def _above(fd):
        high = fcntl.fcntl(fd, fcntl.F_DUPFD, 10)
        os.close(fd)
        return high

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(20)
        os.close(self._read)
        os.close(self._write)

    def _message(self, deadline):
        while b"\0" not in self._held:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._read], [], [], left)[0], "chromium does not answer"
            piece = os.read(self._read, 1 << 16)
            assert piece, "chromium has ended"
            self._held += piece
        text, self._held = self._held.split(b"\0", 1)
        return json.loads(text)

    def ask(self, method, session=None, seconds=60, **params):
        self._number += 1
        request = {"id": self._number, "method": method, "params": params}
        if session:
            request["sessionId"] = session
        os.write(self._write, json.dumps(request).encode() + b"\0")
        deadline = time.monotonic() + seconds
        while True:
            message = self._message(deadline)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def wait(self, method, session, seconds=60):
        """The next event of that name."""
        deadline = time.monotonic() + seconds
        while True:
            for i, event in enumerate(self.events):
                if event.get("method") == method and event.get("sessionId") == session:
                    return self.events.pop(i)
            self.events.append(self._message(deadline))

    def page(self, language, width=360):
        return Page(self, language, width)


class Page:
    def __init__(self, browser, language, width):
        self.browser = browser
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._ask(domain + ".enable")
        self._ask("Network.setUserAgentOverride", userAgent="test", acceptLanguage=language)
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=640, deviceScaleFactor=2, mobile=True)

    def _ask(self, method, **params):
        return self.browser.ask(method, self.session, **params)

    def _loaded(self):
        self.browser.wait("Page.loadEventFired", self.session)

    def open(self, url):
        self._ask("Page.navigate", url=url)
        self._loaded()

    def tell(self, expression):
        return self._ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def press(self, selector):
        self._ask("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)}).click()")
        self._loaded()

    @property
    def requests(self):
        return [e["params"]["request"]["method"] + " " + e["params"]["request"]["url"] for e in self.browser.events
                if e.get("method") == "Network.requestWillBeSent" and e.get("sessionId") == self.session]

    @property
    def complaints(self):
        """What the browser says is wrong: a style that its policy forbids, for one."""
        return [e["params"]["entry"]["text"] for e in self.browser.events
                if e.get("method") == "Log.entryAdded" and e.get("sessionId") == self.session]
