#!/usr/bin/env python3
"""Runs the servers that `publisher configure` speaks of, with what it prints, and updates through them.

usage: scripts/configs.py [SERVER...]      nginx, caddy, apache; default: all

Each server hands out a site of two releases, at the root of a host and below a path. Every kind of file must come with the
headers `publisher serve` gives it, whole and by Range, uncompressed whatever the client says it can read; what is missing must
not be kept by caches; nothing but the site is handed out; and the real client installs the first release and updates to the
second.
"""

import contextlib
import http.client
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import lab
from lab import LabError, find_tool, free_port, run

PLATFORM = "linux-x86_64"
HEADERS = ("Cache-Control", "Content-Type", "X-Content-Type-Options")
APACHE_MODULES = ("mpm_event", "authz_core", "alias", "dir", "env", "headers", "mime")


def configured(server, listen, root, path):
    """What `publisher configure` prints for it."""
    words = ["configure", server, "--listen", listen, "--root", root, "--path", path]
    return run(lab.binaries() / "publisher", *words).stdout


def get(port, name, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", name, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@contextlib.contextmanager
def running(command, port, home=None):
    """A server of ours; ends with the block. What it keeps for itself it keeps in `home`."""
    process = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "HOME": str(home or pathlib.Path.home())},
    )
    try:
        for _ in range(400):
            if process.poll() is not None:
                raise LabError(f"{command[0]} did not start: {process.stdout.read().decode()[-1500:]}")
            with contextlib.suppress(OSError):
                get(port, "/up")
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


@contextlib.contextmanager
def nginx(site, path, scratch):
    stand_in = "127.0.0.1:59999"
    text = configured("nginx", stand_in, site, path).replace("{", "{{").replace("}", "}}")
    config = lab.CONFIG.split("  server {{")[0] + text.replace(stand_in, "{address}:{port}") + "\n}}\n"
    with lab.Nginx(site, scratch, config=config) as server:
        yield server.port


@contextlib.contextmanager
def caddy(site, path, scratch):
    port = free_port()
    config = scratch / "Caddyfile"
    options = "{\n\tadmin off\n\tauto_https off\n}\n"
    config.write_text(options + configured("caddy", f"http://127.0.0.1:{port}", site, path))
    with running([find_tool("caddy"), "run", "--adapter", "caddyfile", "--config", config], port, scratch):
        yield port


@contextlib.contextmanager
def apache(site, path, scratch):
    port = free_port()
    config = scratch / "httpd.conf"
    modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in APACHE_MODULES)
    own = (
        f"ServerRoot {scratch}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {scratch}/httpd.pid\n"
        f"ErrorLog {scratch}/error.log\nDefaultRuntimeDir {scratch}\nTypesConfig /etc/mime.types\n{modules}"
    )
    # Started by root it serves as somebody else.
    own += "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    config.write_text(own + configured("apache", f"127.0.0.1:{port}", site, path))
    with running([find_tool("apache2"), "-D", "FOREGROUND", "-f", config], port):
        yield port


SERVERS = {"nginx": nginx, "caddy": caddy, "apache": apache}


def make_site(scratch):
    site, keys, publisher = scratch / "site", scratch / "keys", lab.binaries() / "publisher"
    run(publisher, "keygen", "--out", keys)
    common = ["--site", site, "--app", lab.APP, "--keys", keys]
    run(publisher, "init", *common)
    notes = scratch / "notes.md"
    notes.write_text("# News\n")
    for build in (1, 2):
        tree = scratch / f"tree-{build}"
        (tree / "bin").mkdir(parents=True)
        (tree / "bin/app").write_bytes(bytes(range(256)) * 2000 + f"build {build}".encode())
        (tree / "words.txt").write_text("a lamp, a wick, a flame\n" * (400 + build))
        flags = ["--channel", lab.CHANNEL, "--build", build, "--version", f"{build}.0", "--notes", f"en={notes}"]
        run(publisher, "build-release", *common, *flags, "--platform", f"{PLATFORM}={tree}")
        if build == 1:
            shutil.copy(site / "channels" / f"{lab.CHANNEL}.head", scratch / "first.head")
    return site


class Checks:
    """Counts and prints what was checked."""

    def __init__(self):
        self.passed, self.failed, self.server = 0, 0, ""

    def __call__(self, what, holds, detail=""):
        self.passed, self.failed = self.passed + bool(holds), self.failed + (not holds)
        if not holds:
            print(f"{self.server}: FAILED: {what}: {detail}", flush=True)


def check_files(site, port, path, truth, checks):
    """Every file of the site, beside what `publisher serve` says of it."""
    names = sorted(str(file.relative_to(site)) for file in site.rglob("*") if file.is_file())
    for name in [""] + [name for name in names if not name.startswith(".")]:
        content = (site / (name or "index.html")).read_bytes()
        expected, _ = get(truth, f"/{name}")
        answer, body = get(port, path + name, **{"Accept-Encoding": "gzip, br, zstd"})
        checks(f"{name} comes whole", (answer.status, body) == (200, content), f"{answer.status}, {len(body)} bytes")
        checks(f"{name} is not compressed", not answer.headers["Content-Encoding"], answer.headers["Content-Encoding"])
        for header in HEADERS:
            found = answer.headers.get_all(header) or []
            checks(f"{name}: {header}", [h.lower() for h in found] == [expected.headers[header].lower()], f"{found}, not {expected.headers[header]}")
        part, some = get(port, path + name, Range="bytes=1-4")
        right = (part.status, some, part.headers["Content-Range"]) == (206, content[1:5], f"bytes 1-4/{len(content)}")
        checks(f"{name} comes by Range", right, f"{part.status}, {part.headers['Content-Range']}")


def check_others(port, path, checks):
    missing = [f"{kind}/ab/none" for kind in ("objects", "packs")] + ["channels/none.head", "root/99.root", "releases/9/x/release"]
    hidden = [".publisher/lock", ".publisher/proofs.csv", "objects", "objects/", "channels/", "packs/..%2f..%2f.publisher/lock", "none"]
    for name in missing + hidden:
        answer, body = get(port, path + name)
        kept = answer.headers["Cache-Control"] or ""
        checks(f"{name} is not there", answer.status in (400, 403, 404) if name in hidden else answer.status == 404, answer.status)
        checks(f"{name}: that it is not there is not kept", "max-age" not in kept and "immutable" not in kept, kept)


def check_client(site, port, path, scratch, checks):
    """Installs build 1 from its own days, updates to build 2."""
    client = lab.Client(lab.binaries(), scratch / "installed")
    head = site / "channels" / f"{lab.CHANNEL}.head"
    newest = head.read_bytes()
    head.write_bytes((scratch.parent / "first.head").read_bytes())
    client.install(f"http://127.0.0.1:{port}{path.rstrip('/')}", site / "root/1.root", PLATFORM)
    head.write_bytes(newest)
    client("update")
    wrong = lab.tree_difference(scratch.parent / "tree-2", scratch / "installed")
    checks("the client installs and updates", not wrong, "; ".join(wrong[:5]))


def main():
    wanted = sys.argv[1:] or list(SERVERS)
    if set(wanted) - set(SERVERS):
        raise LabError(f"unknown server; there are: {' '.join(SERVERS)}")
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="lamplighter-configs-") as directory:
        scratch = pathlib.Path(directory)
        # A server that root starts as somebody else has to get in.
        scratch.chmod(0o755)
        site = make_site(scratch)
        port = free_port()
        with running([lab.binaries() / "publisher", "serve", "--site", site, "--listen", f"127.0.0.1:{port}", "--quiet"], port) as truth:
            for name in wanted:
                for path in ("/", "/get/app/"):
                    checks.server = f"{name} at {path}"
                    place = scratch / f"{name}-{len(path)}"
                    place.mkdir()
                    with SERVERS[name](site, path, place) as server:
                        check_files(site, server, path, truth, checks)
                        check_others(server, path, checks)
                        check_client(site, server, path, place, checks)
    print(f"configs: {', '.join(wanted)}: {checks.passed} passed, {checks.failed} failed")
    sys.exit(bool(checks.failed))


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"configs: {error}")
