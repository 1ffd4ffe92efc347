"""Drives a headless Chromium over its debugging pipe: what is drawn, what is asked of the network, what is said on the console.

Imported by scripts/page.py; needs Python's own library only.
"""

import base64
import json
import os
import select
import subprocess
import time

from lab import LabError, find_tool

WAIT_S = 60


class Chromium:
    """One page of a browser that talks to nobody but us, with all it did since the last `visit`."""

    def __init__(self, scratch):
        to_read, self.out = os.pipe()
        self.input, to_write = os.pipe()
        # The browser has its two ends as 3 and 4; they are moved out of the way of these numbers first.
        to_read, to_write = (self.above(end) for end in (to_read, to_write))
        command = [
            find_tool("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            "--force-color-profile=srgb", "--lang=en", f"--user-data-dir={scratch}", "--remote-debugging-pipe", "about:blank",
        ]
        wired = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", wired, "sh", *command], pass_fds=[to_read, to_write], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(scratch), "TZ": "UTC"},
        )
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.number, self.session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    @staticmethod
    def above(end):
        """The same end under a number the shell can name and 3 and 4 are free of."""
        taken = []
        while end < 5:
            taken.append(end)
            end = os.dup(end)
        for number in taken:
            os.close(number)
        return end

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise LabError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def read(self):
        deadline = time.monotonic() + WAIT_S
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.input], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.input, 1 << 20) if ready else b""
            if not chunk:
                raise LabError("chromium says nothing")
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def visit(self, url):
        """Goes to `url` and waits until all of it is there."""
        self.events = []
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())
        self.call("Runtime.evaluate", expression="1")

    def said(self):
        """Everything on the console, and every error."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event["params"])[:400] for event in self.events if event.get("method") in kinds]

    def requested(self):
        """Every address that was asked for."""
        events = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in events]

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise LabError(json.dumps(result["exceptionDetails"])[:600])
        return result["result"].get("value")

    def window(self, width, height, dark=False, scale=1):
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path, top, width, height):
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        os.close(self.out)
        os.close(self.input)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
