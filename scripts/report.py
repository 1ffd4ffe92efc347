"""Figures with their limits, the rows they come from, and the dated folders they are kept in.

Imported by figures.py and bench.py.
"""

import csv
import dataclasses
import datetime
import os
import pathlib
import platform
import re
import shutil
import subprocess

import lab

MIB = 1024 * 1024


@dataclasses.dataclass
class Figure:
    """One number, what it is of, and the limit it must keep."""

    subject: str
    what: str
    value: float
    limit: float = None
    unit: str = "bytes"
    asserted: bool = True  # a limit on a time is shown, not asserted: it is the machine's as much as ours

    @property
    def holds(self):
        return self.limit is None or self.value <= self.limit

    def cells(self):
        verdict = "" if self.limit is None else ("ok" if self.holds else "**over**" if self.asserted else "over")
        limit = "" if self.limit is None else "≤ " + shown(self.limit, self.unit)
        return (self.subject, self.what, shown(self.value, self.unit), limit, verdict)


def shown(value, unit):
    if unit == "bytes":
        return f"{value:,.0f}"
    if unit == "MiB":
        return f"{value / MIB:,.1f} MiB"
    if unit == "s":
        return f"{value:,.2f} s"
    if unit == "ratio":
        return f"{value:.3f}"
    return f"{value:,.0f} {unit}"


class Results:
    """The figures, and a raw row for every program run."""

    def __init__(self):
        self.figures = []
        self.runs = []

    def figure(self, *cells, **named):
        figure = Figure(*cells, **named)
        self.figures.append(figure)
        print("  ".join(cell for cell in figure.cells() if cell), flush=True)

    def run(self, subject, what, run):
        self.runs.append((subject, what, f"{run.wall_s:.3f}", f"{run.cpu_s:.2f}", run.peak_kib * 1024))
        return run


def markdown(results):
    lines = ["| subject | figure | value | limit | |", "| --- | --- | ---: | ---: | --- |"]
    lines += ["| " + " | ".join(figure.cells()) + " |" for figure in results.figures]
    return "\n".join(lines) + "\n"


def machine():
    """What the figures depend on: processor, memory, system, tools."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    system = re.search(r'PRETTY_NAME="(.*)"', pathlib.Path("/etc/os-release").read_text())
    rows = [
        ("processor", f"{os.cpu_count()} × {cpu[1] if cpu else platform.machine()}"),
        ("memory", f"{int(memory[1]) / MIB:.0f} GiB"),
        ("system", f"{system[1]}, Linux {platform.release()}"),
        ("commit", first_line("git", "-C", lab.REPOSITORY, "describe", "--always", "--dirty")),
        ("rustc", first_line("rustc", "--version")),
        ("b3sum", first_line("b3sum", "--version")),
    ]
    return rows


def first_line(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return (done.stdout.strip().split("\n") or [""])[0].strip("* ")


def folder(suffix=""):
    """The dated folder a run is recorded in; an older run of the same day on such a machine is replaced."""
    name = f"{datetime.date.today().isoformat()}-{platform.machine().replace('_', '-')}-{os.cpu_count()}-cores{suffix}"
    place = lab.REPOSITORY / "docs" / "figures" / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def facts_table(facts):
    """What the figures depend on, as Markdown."""
    return "| | |\n| --- | --- |\n" + "".join(f"| {key} | {value} |\n" for key, value in facts)


def figure_rows(results):
    """The figures as rows of figures.csv."""
    return [(f.subject, f.what, f.value, "" if f.limit is None else f.limit, f.unit) for f in results.figures]


FIGURE_COLUMNS = ("subject", "figure", "value", "limit", "shown_as")
RUN_COLUMNS = ("subject", "run", "wall_s", "cpu_s", "peak_bytes")


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
