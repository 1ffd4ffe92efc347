"""One pair of releases, one contest: our pack and the patches of every peer, made, applied, compared and measured.

Imported by bench.py. Ours and the peers take turns, so that what else the machine does falls on all of them. Every
program runs alone, and what starting a process costs (the least that `true` took) is taken off each, as peers that know
only files are started once a file.
"""

import dataclasses
import filecmp
import pathlib
import resource
import shutil
import statistics

import lab
import real_releases

OURS = "lamplighter"
EFFORT = 5  # the publisher's default
DIFF_EVERY = 3  # ours makes its pack before every third peer; it is applied before every one
START_ROUNDS = 15


@dataclasses.dataclass
class Spent:
    """What one or several runs took together."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_kib: int = 0

    def __add__(self, other):
        return Spent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, max(self.peak_kib, other.peak_kib))


@dataclasses.dataclass
class Row:
    """One tool's round on one pair; a tool's part is None where it was left out of that round."""

    pair: str
    tool: str
    patch_bytes: int
    diff: Spent | None
    apply: Spent | None


class Meter:
    """Runs programs and says what they took beyond the start of a process."""

    def __init__(self, scratch):
        self.path = scratch / "time.txt"
        starts = [self.measure("true") for _ in range(START_ROUNDS)]
        self.start = Spent(*(min(getattr(start, name) for start in starts) for name in ("wall_s", "cpu_s")))

    def measure(self, *command):
        """Processor time comes from the kernel's account of our children: GNU time's knows hundredths of a second."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = lab.run(*command, measure=self.path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Spent(run.wall_s, cpu_s, run.peak_kib)

    def __call__(self, *command):
        spent = self.measure(*command)
        return Spent(
            max(0.0, spent.wall_s - self.start.wall_s), max(0.0, spent.cpu_s - self.start.cpu_s), spent.peak_kib
        )

    def all(self, commands):
        return sum((self(*command) for command in commands), Spent())


class Trees:
    """Old and new release of a pair, and what changed between them, by path."""

    def __init__(self, pair):
        place = real_releases.fetch_pair(pair, real_releases.DEFAULT_OUT)
        self.old, self.new = place / "old", place / "new"
        changed, added = (
            [name for name in names if not (self.new / name).is_symlink() and not (self.old / name).is_symlink()]
            for names in lab.changed_names(self.old, self.new)
        )
        # Not every tool takes an empty file; what has one on either side is an added file to all of them.
        whole = [n for n in changed if not (self.old / n).stat().st_size or not (self.new / n).stat().st_size]
        self.changed = [name for name in changed if name not in whole]
        self.added = added + whole
        self.changed_bytes = sum((self.new / name).stat().st_size for name in self.changed + self.added)
        self.largest_old_bytes = max((self.old / name).stat().st_size for name in self.changed)


# Peers.


def pack_added(trees, meter, scratch):
    """Added files on their own, by zstd -19: the same for every peer that works on single files."""
    zstd = lab.find_tool("zstd")
    row = Row("", "", 0, Spent(), Spent())
    for name in trees.added:
        packed, unpacked = scratch / "added.zst", scratch / "added"
        row.diff += meter(zstd, "-q", "-f", "-19", "--single-thread", trees.new / name, "-o", packed)
        row.apply += meter(zstd, "-q", "-f", "-d", packed, "-o", unpacked)
        row.patch_bytes += packed.stat().st_size
    return row


def run_peer(pair, peer, trees, added, meter, scratch):
    """Has one peer patch every changed file, or the two directories at once."""
    if peer.directories:
        return patch_directories(pair, peer, trees, meter, scratch)
    row = Row(pair.name, peer.name, added.patch_bytes, added.diff, added.apply)
    for name in trees.changed:
        patch, made = scratch / "changed.patch", scratch / "made"
        row.diff += meter.all(peer.diff(trees.old / name, trees.new / name, patch))
        row.patch_bytes += patch.stat().st_size
        row.apply += meter.all(peer.apply(trees.old / name, patch, made))
        if not filecmp.cmp(made, trees.new / name, shallow=False):
            raise lab.LabError(f"{peer.name} did not restore {name}")
    return row


def patch_directories(pair, peer, trees, meter, scratch):
    patch, made = scratch / "directories.patch", scratch / "made-tree"
    diff = meter.all(peer.diff(trees.old, trees.new, patch))
    apply = meter.all(peer.apply(trees.old, patch, made))
    done = lab.run(lab.find_tool("diff"), "-rq", trees.new, made, codes=None)
    shutil.rmtree(made)
    if done.code:
        raise lab.LabError(f"{peer.name} did not restore the tree: {done.stdout[:300]}")
    return Row(pair.name, peer.name, patch.stat().st_size, diff, apply)


# Ours.


class Ours:
    """A site with both releases, and a tree at the old one that every update starts from."""

    def __init__(self, pair, trees, programs, meter, scratch):
        self.pair, self.trees, self.programs, self.meter, self.scratch = pair, trees, programs, meter, scratch
        self.site = lab.Site(scratch, programs)
        self.published = [self.site.build(1, "1", pair.platform, trees.old)]
        self.base = scratch / "base"
        lab.Client(programs, self.base).install(self.site.path, self.site.root, pair.platform)
        self.published.append(self.site.build(2, "2", pair.platform, trees.new))
        (pack,) = self.site.pack_rows(2, pair.platform)
        self.pack_bytes = pack["pack_bytes"]

    def make_pack(self, effort=EFFORT):
        """The pack alone: no objects, no proof."""
        program = self.programs / "examples" / "pack_size"
        return self.meter(program, self.trees.old, self.trees.new, effort, "--build-only")

    def update(self):
        """`client update` of a fresh copy of the old tree from the site's directory, flushed to disk as always."""
        tree = self.scratch / "tree"
        lab.run("cp", "-a", self.base, tree)
        lab.run("sync")
        spent = self.meter(self.programs / "client", "update", "--tree", tree)
        differences = lab.tree_difference(self.trees.new, tree)
        if differences:
            raise lab.LabError(f"{self.pair.name}: the updated tree differs: {differences[:3]}")
        shutil.rmtree(tree)
        return spent

    def copy(self):
        """`cp -r` of the changed and added files, then `sync`: what no update can be without."""
        files, copied = self.scratch / "changed-files", self.scratch / "copied"
        if not files.exists():
            for name in self.trees.changed + self.trees.added:
                (files / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.trees.new / name, files / name)
        lab.run("sync")
        spent = self.meter("sh", "-c", 'cp -r "$1" "$2" && sync', "sh", files, copied)
        shutil.rmtree(copied)
        return spent


@dataclasses.dataclass
class Outcome:
    """Everything one contest found."""

    trees: Trees
    ours: Ours
    rows: list
    copies: list  # Spent of each plain copy
    failures: dict  # peer → why it has no row

    def of(self, tool):
        """One tool's row, medians where it ran more than once; None if it has none."""
        rows = [row for row in self.rows if row.tool == tool]
        if not rows:
            return None
        return Row(rows[0].pair, tool, rows[0].patch_bytes, *(median(rows, part) for part in ("diff", "apply")))

    def tools(self):
        return list(dict.fromkeys(row.tool for row in self.rows))

    def best_peer(self):
        return min((self.of(tool) for tool in self.tools() if tool != OURS), key=lambda row: row.patch_bytes)


def median(rows, part):
    spent = [getattr(row, part) for row in rows if getattr(row, part)]
    cells = ((getattr(s, name) for s in spent) for name in ("wall_s", "cpu_s"))
    return Spent(*(statistics.median(cell) for cell in cells), max(s.peak_kib for s in spent))


def hold(pair, peers, programs, scratch, say):
    """Ours, a peer, ours, the next peer, and so on."""
    meter = Meter(scratch)
    trees = Trees(pair)
    outcome = Outcome(trees, Ours(pair, trees, programs, meter, scratch), [], [], {})
    added = pack_added(trees, meter, scratch)
    for index, peer in enumerate(peers):
        made = outcome.ours.make_pack() if index % DIFF_EVERY == 0 else None
        row = Row(pair.name, OURS, outcome.ours.pack_bytes, made, outcome.ours.update())
        outcome.rows.append(row)
        say(row)
        outcome.copies.append(outcome.ours.copy())
        try:
            outcome.rows.append(run_peer(pair, peer, trees, added, meter, scratch))
            say(outcome.rows[-1])
        except lab.LabError as error:
            outcome.failures[peer.name] = str(error)
    return outcome
