"""What tests with real programs and the figures share: the built programs, a site, nginx in front of it, trees to compare.

Imported by the scripts beside it; needs Python's own library only.
"""

import contextlib
import csv
import dataclasses
import filecmp
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import time
import zlib

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
APP = "org.lamplighter.lab"
CHANNEL = "stable"
STATE = ".lamplighter"


class LabError(Exception):
    """A program or a server did not do what the rest stands on."""


def find_tool(name):
    """Path of a program, system folders included; these are the ones scripts/setup-debian.sh installs."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise LabError(f"{name} is not installed; scripts/setup-debian.sh installs it")
    return found


def binaries():
    """Path of the release build of `publisher` and `client`."""
    directory = TARGET / "release"
    for name in ("publisher", "client"):
        if not (directory / name).exists():
            raise LabError(f"{directory / name} is missing; `make release` builds it")
    return directory


def build(*targets):
    """Builds `targets` (cargo's flags that choose them) beside all programs, and returns the directory of the programs.

    With the features and the profile of `make unit` and `make release`, the example among them, which brings those of the tests:
    nothing is compiled a second time.
    """
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "build", "--quiet", "--release", "--locked", "--workspace", "--bins", "--example", "histories", *targets]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return binaries()


@dataclasses.dataclass
class Run:
    """One finished run of a program."""

    command: list
    code: int
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float = 0.0
    peak_kib: int = 0

    def __str__(self):
        return f"{' '.join(self.command)} ended with {self.code}\n{self.stdout[-1500:]}{self.stderr[-3000:]}"


def run(*command, measure=None, env=None, codes=(0,)):
    """Runs a program to its end and returns what it did.

    With `measure`, a path, peak memory and processor time are taken by GNU time, which writes there: a child of a
    large process inherits that process's peak, a child of `time` does not. `codes` are the exit codes that are
    right; None takes any.
    """
    command = [str(part) for part in command]
    wrapped = command
    if measure:
        wrapped = [find_tool("time"), "--quiet", "--format=%M %U %S", f"--output={measure}", *command]
    environment = {**os.environ, "LC_ALL": "C", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **(env or {})}
    started = time.monotonic()
    done = subprocess.run(wrapped, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    result = Run(command, done.returncode, done.stdout, done.stderr, time.monotonic() - started)
    if measure:
        peak, user, system = pathlib.Path(measure).read_text().split()[-3:]
        result.peak_kib, result.cpu_s = int(peak), float(user) + float(system)
    if codes is not None and result.code not in codes:
        raise LabError(str(result))
    return result


def note_figures(name, figures):
    """Keeps the figures of a run where `make scoreboard` finds them."""
    directory = pathlib.Path(os.environ.get("LAMPLIGHTER_FIGURES", REPOSITORY / "target/scoreboard"))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps({"name": name, **figures}) + "\n")


class Site:
    """A site under construction: keys, root, and releases built one after the other, all at one fixed time."""

    def __init__(self, scratch, programs, keys=None, epoch=None):
        self.path = scratch / "site"
        self.keys = keys or scratch / "keys"
        self.scratch = scratch
        self.publisher = programs / "publisher"
        # A head expires days after it was issued, so the fixed time is one of today.
        self.env = {"SOURCE_DATE_EPOCH": str(epoch or int(time.time()))}
        if keys is None:
            run(self.publisher, "keygen", "--out", self.keys)
        run(self.publisher, "init", "--site", self.path, "--app", APP, "--keys", self.keys, env=self.env)

    @property
    def root(self):
        return self.path / "root" / "1.root"

    def build(self, number, version, platform, directory, *flags):
        """Publishes `directory` as one build; returns the run, measured."""
        return run(
            *(self.publisher, "build-release", "--site", self.path, "--app", APP, "--channel", CHANNEL),
            *("--build", number, "--version", version, "--platform", f"{platform}={directory}"),
            *("--keys", self.keys, *flags),
            env=self.env,
            measure=self.scratch / "time.txt",
        )

    def release(self, number, platform):
        """Directory of one release's documents."""
        return self.path / "releases" / str(number) / platform

    def files(self):
        """Every file of the site: name → bytes."""
        return {
            str(path.relative_to(self.path)): path.stat().st_size for path in self.path.rglob("*") if path.is_file()
        }

    def pack_rows(self, number, platform):
        """The pack rows of a signed release, one dictionary each."""
        names = ("format", "base", "manifest_bytes", "manifest_blake3", "pack_bytes", "header_bytes", "header_blake3")
        text = (self.release(number, platform) / "release").read_text()
        body = text[: text.index("\nend\n")]
        rows = [row[1:] for row in csv.reader(body.split("\n")) if row and row[0] == "pack"]
        return [{name: int(v) if v.isdigit() and len(v) < 17 else v for name, v in zip(names, row)} for row in rows]


@dataclasses.dataclass
class Request:
    """One line of nginx's access log."""

    name: str
    status: int
    body_bytes: int
    range: str
    connection: str


class Nginx:
    """Real nginx, on a loopback port unless told otherwise, as an ordinary process of ours, with an access log of its own.

    `config` is a template like CONFIG; `prefix` is what the program is started through.
    """

    def __init__(self, root, scratch, config=None, address="127.0.0.1", prefix=(), **more):
        scratch.mkdir(parents=True, exist_ok=True)
        self.log = scratch / "access.log"
        self.log.write_text("")
        self.address, self.port = address, free_port()
        self.url = f"http://{address}:{self.port}"
        path = scratch / "nginx.conf"
        facts = dict(scratch=scratch, root=root, address=address, port=self.port, user=worker_user(), **more)
        path.write_text((config or CONFIG).format(**facts))
        command = [*prefix, find_tool("nginx"), "-e", str(scratch / "error.log"), "-p", str(scratch), "-c", str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.seen = 0
        self.marks = 0
        self.wait_until_up()

    def wait_until_up(self):
        for _ in range(200):
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                self.fetch_status("/up")
                return
            time.sleep(0.05)
        self.close()
        raise LabError("nginx did not start: " + (self.log.parent / "error.log").read_text()[-800:])

    def fetch_status(self, name):
        connection = http.client.HTTPConnection(self.address, self.port, timeout=10)
        connection.request("GET", name)
        status = connection.getresponse().status
        connection.close()
        return status

    def requests(self):
        """The requests since the last call. A line is logged after its answer has left, so one of our own is waited
        for: the single worker logs in order."""
        self.marks += 1
        mark = f"/lab-mark-{self.marks}"
        self.fetch_status(mark)
        for _ in range(200):
            lines = self.log.read_text().splitlines()
            if any(line.startswith(f"{mark}\t") for line in lines[self.seen :]):
                break
            time.sleep(0.02)
        else:
            raise LabError("nginx did not log a request")
        fresh, self.seen = lines[self.seen :], len(lines)
        cells = [line.split("\t") for line in fresh]
        found = [Request(c[0].lstrip("/"), int(c[1]), int(c[2]), c[3], c[4]) for c in cells]
        return [request for request in found if request.name != "up" and not request.name.startswith("lab-mark-")]

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def nginx_config(server, http="", connections=256):
    """A template for `Nginx`: what stands in the `server` block, and what beside it; `{` and `}` of nginx doubled."""
    return f"""{{user}}daemon off;
worker_processes 1;
pid {{scratch}}/nginx.pid;
events {{{{ worker_connections {connections}; }}}}
http {{{{
  default_type application/octet-stream;
  sendfile on;
  log_format lab "$uri\\t$status\\t$body_bytes_sent\\t$http_range\\t$connection";
  access_log {{scratch}}/access.log lab;
  client_body_temp_path {{scratch}}/body;
  proxy_temp_path {{scratch}}/proxy;
  fastcgi_temp_path {{scratch}}/fastcgi;
  uwsgi_temp_path {{scratch}}/uwsgi;
  scgi_temp_path {{scratch}}/scgi;
{http}  server {{{{
    listen {{address}}:{{port}} backlog=4096;
{server}  }}}}
}}}}
"""


ORIGIN = """    root {root};
    location /channels/ {{ add_header Cache-Control "no-cache"; }}
    location / {{ add_header Cache-Control "public, max-age=31536000, immutable"; }}
"""
CONFIG = nginx_config(ORIGIN)


def worker_user():
    """Started by root, nginx would hand its workers to a user who may not read our scratch directory."""
    return "user root;\n" if os.geteuid() == 0 else ""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """The `client` program with one installed tree."""

    def __init__(self, programs, tree, measure=None):
        self.program = programs / "client"
        self.tree = tree
        self.measure = measure

    def install(self, site_url, root, platform, codes=(0,)):
        return run(
            *(self.program, "install", "--site", site_url, "--root", root, "--app", APP, "--channel", CHANNEL),
            *("--platform", platform, "--tree", self.tree),
            measure=self.measure,
            codes=codes,
        )

    def follow(self, site):
        """The tree goes by the site at `site` from now on."""
        settings = self.tree / STATE / "settings"
        lines = [f"site,{site}" if line.startswith("site,") else line for line in settings.read_text().split("\n")]
        settings.write_text("\n".join(lines))

    def __call__(self, command, *flags, codes=(0,)):
        return run(self.program, command, "--tree", self.tree, *flags, measure=self.measure, codes=codes)


def tree_files(tree):
    """Every file and link of a tree but the client's own state: name → path."""
    found = {}
    for directory, names, files in os.walk(tree):
        here = pathlib.Path(directory)
        if here == tree and STATE in names:
            names.remove(STATE)
        for name in files + [name for name in names if (here / name).is_symlink()]:
            path = here / name
            found[str(path.relative_to(tree))] = path
    return found


def tree_difference(expected, tree):
    """What `diff -rq` says, and files whose executable bit differs; empty if the trees are the same."""
    done = run(find_tool("diff"), "-rq", "--no-dereference", "--exclude", STATE, expected, tree, codes=None)
    lines = (done.stdout + done.stderr).splitlines()
    theirs = tree_files(tree)
    for name, path in tree_files(expected).items():
        if name in theirs and not path.is_symlink():
            if bool(path.stat().st_mode & stat.S_IXUSR) != bool(theirs[name].stat().st_mode & stat.S_IXUSR):
                lines.append(f"executable bit of {name} differs")
    return lines


def identities(tree):
    """Inode and time of last change of every file: what an update must leave alone where nothing changed."""
    found = {}
    for name, path in tree_files(tree).items():
        status = path.lstat()
        found[name] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def changed_names(old, new):
    """Names of files that are in both trees with other content, and of those only in `new`."""
    before, after = tree_files(old), tree_files(new)
    both = [name for name in after if name in before]
    changed = [name for name in both if not filecmp.cmp(before[name], after[name], shallow=False)]
    return sorted(changed), sorted(set(after) - set(before))


def manifest_difference(manifest, directory):
    """Recomputes a manifest from `directory` with Python's zlib and b3sum; returns what does not agree."""
    with open(manifest, newline="", encoding="utf-8") as file:
        rows = {row["filename"]: row for row in csv.DictReader(file) if row["mode"] != "dir"}
    files = tree_files(directory)
    wrong = [f"{name} stands in only one of manifest and tree" for name in set(rows) ^ set(files)]
    digests = b3sums([path for path in files.values() if not path.is_symlink()])
    for name in sorted(set(rows) & set(files)):
        row, path = rows[name], files[name]
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        actual = (str(zlib.crc32(content)), str(zlib.crc32(content[::-1])), str(len(content)))
        expected = (row["crc32"], row["crc32_reversed"], row["size"])
        if actual != expected:
            wrong.append(f"{name}: manifest has {expected}, zlib finds {actual}")
        if not path.is_symlink() and digests[path] != row["blake3"]:
            wrong.append(f"{name}: manifest has {row['blake3']}, b3sum finds {digests[path]}")
    return wrong


def b3sums(paths):
    """BLAKE3 of files, by the b3sum program."""
    found = {}
    for start in range(0, len(paths), 500):
        batch = paths[start : start + 500]
        lines = run(find_tool("b3sum"), "--no-names", *batch).stdout.split()
        found.update(zip(batch, lines))
    return found


def verify_beside_b3sum(client, rounds, *flags):
    """Runs `client verify` and b3sum over the same files, alternately; returns the runs of each."""
    listing = client.tree.parent / "files.txt"
    listing.write_text("".join(f"{path}\0" for path in tree_files(client.tree).values()))
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(client("verify", *flags))
        theirs.append(run("xargs", "-0", "-a", listing, find_tool("b3sum"), measure=client.measure))
    return ours, theirs


def minisign_verify(document, public_key, scratch, index=1):
    """Checks signature `index` of a signed document with the stock minisign program, by two sed commands."""
    commands = (
        f"sed '/^end$/q' '{document}' > b; "
        f"sed '1,/^end$/d' '{document}' | sed -n '{4 * index - 3},{4 * index}p' > b.minisig; "
        f"minisign -Vm b -p '{public_key}'"
    )
    find_tool("minisign")
    return subprocess.run(["sh", "-c", commands], cwd=scratch, capture_output=True, text=True)
