"""What a comparison with peers leaves behind: rows, tables, plots.

Imported by bench.py.
"""

import charts
import lab
import report
from contest import OURS

ROW_COLUMNS = ("pair", "tool", "patch_bytes")
PARTS = ("diff", "apply")
HOW = """\
Peers patch every changed file (same path, other content) one by one, with the added files on their own by zstd -19;
the rows are sums, and of memory the largest. A renamed file counts as added for them. hdiffz-dirs works on the two
directories and sees renames as we do: where files were renamed it is the fair peer. Zucchini knows PE and ELF; what is
neither, Mach-O among it, it diffs as plain bytes.

Lamplighter's bytes are the whole pack, container and manifest change included. Its diff is pack-making alone, with the
scan of both trees; whole runs of the publisher, objects and proof included, are in [runs.csv](runs.csv). Its apply is
the whole `client update` from the site's directory: signatures, BLAKE3 of every byte, journal and flush included; peers
check no more than their formats do and flush nothing.

Ours and the peers took turns, each program alone; what starting a process costs is taken off. Every patch was applied
and its result compared with the new release. Where ours ran several times the table shows the median, and
[rows.csv](rows.csv) every run.
"""


class Text:
    """The tables and plots of one run."""

    def __init__(self, results, outcomes, found, missing):
        self.results, self.outcomes, self.found, self.missing = results, outcomes, found, missing

    def summary(self):
        """Ours, the best peer and their ratio for each pair."""
        lines = ["| pair | lamplighter | best peer | | ratio |", "| --- | ---: | ---: | --- | ---: |"]
        for name, outcome in self.outcomes.items():
            best, ours = outcome.best_peer(), outcome.ours.pack_bytes
            lines.append(f"| {name} | {ours:,} | {best.patch_bytes:,} | {best.tool} | {ours / best.patch_bytes:.3f} |")
        return "\n".join(lines) + "\n"

    def all_tools(self):
        """A row for each tool on each pair."""
        head = ("pair", "tool", "patch bytes", "diff cpu s", "wall s", "MiB", "apply cpu s", "wall s", "MiB")
        lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
        for name, outcome in self.outcomes.items():
            for row in ranked(outcome):
                cells = [f"{row.patch_bytes:,}"]
                for spent in (row.diff, row.apply):
                    cells += [f"{spent.cpu_s:.2f}", f"{spent.wall_s:.2f}", f"{spent.peak_kib / 1024:.0f}"]
                tool = f"**{OURS}**" if row.tool == OURS else row.tool
                lines.append("| " + " | ".join((name, tool, *cells)) + " |")
        return "\n".join(lines) + "\n"

    def plots(self):
        """File name → title and SVG."""
        ratios = [ratio_bar(name, outcome) for name, outcome in self.outcomes.items()]
        note = "Pack bytes divided by those of the best peer, named at the bar. Shorter is better; at the line they are equal."
        panel = charts.Panel("Ratio by pair", "pack bytes / best peer's bytes", ratios, mark=1.0)
        drawn = {"ratio": charts.wide("Packs against the best peer", note, panel)}
        for name, (title, note, unit, value, shown) in PLOTS.items():
            panels = [tool_panel(pair, outcome, unit, value, shown) for pair, outcome in self.outcomes.items()]
            drawn[name] = charts.grid(title, note, panels)
        return drawn

    def record(self, arguments):
        """Writes the dated folder."""
        place = report.folder("-peers")
        for name, drawn in self.plots().items():
            (place / f"{name}.svg").write_text(drawn, encoding="utf-8")
        (place / "README.md").write_text(self.readme(arguments), encoding="utf-8")
        columns = [f"{part}_{cell}" for part in PARTS for cell in ("cpu_s", "wall_s", "peak_bytes")]
        rows = [raw(row) for outcome in self.outcomes.values() for row in outcome.rows]
        report.write_csv(place / "rows.csv", (*ROW_COLUMNS, *columns), rows)
        report.write_csv(place / "runs.csv", report.RUN_COLUMNS, self.results.runs)
        report.write_csv(place / "figures.csv", report.FIGURE_COLUMNS, report.figure_rows(self.results))
        print(f"recorded in {place.relative_to(lab.REPOSITORY)}")

    def readme(self, arguments):
        versions = [(peer.name, f"{peer.version}: {peer.how}") for peer in self.found]
        absent = [f"* {name}: {reason}" for name, reason in self.missing.items()]
        plots = "\n".join(f"![{name}]({name}.svg)\n" for name in ("ratio", *PLOTS))
        return "\n".join(
            [
                f"# Beside other tools\n\nCommand: `{' '.join(['scripts/bench.py', arguments]).strip()}`.\n",
                self.summary(),
                HOW,
                *(["Missing:\n", *absent, ""] if absent else []),
                plots,
                "## Figures and goals\n\nOnly sizes are asserted ([figures.csv](figures.csv)).\n",
                report.markdown(self.results),
                "## Every tool\n",
                self.all_tools(),
                "## Machine and versions\n",
                report.facts_table([*report.machine(), *versions]),
            ]
        )


def ranked(outcome):
    """The tools' rows, smallest patch first."""
    return sorted((outcome.of(tool) for tool in outcome.tools()), key=lambda row: row.patch_bytes)


def ratio_bar(name, outcome):
    best = outcome.best_peer()
    ratio = outcome.ours.pack_bytes / best.patch_bytes
    return charts.Bar(name, ratio, f"{ratio:.2f}  {best.tool}", ours=True)


def tool_panel(pair, outcome, unit, value, shown):
    bars = [charts.Bar(row.tool, value(row), shown(value(row)), row.tool == OURS) for row in ranked(outcome)]
    return charts.Panel(pair, unit, bars)


# File name → title, note, unit, what of a row, and how it is written at the bar.
PLOTS = {
    "bytes": (
        *("Patch bytes", "The whole step from old to new release.", "bytes"),
        *(lambda row: row.patch_bytes, "{:,}".format),
    ),
    "diff-cpu": (
        *("Making a patch: processor time", "All threads together.", "seconds"),
        *(lambda row: row.diff.cpu_s, "{:,.2f}".format),
    ),
    "diff-memory": (
        *("Making a patch: peak memory", "Of the largest process.", "MiB"),
        *(lambda row: row.diff.peak_kib / 1024, "{:,.0f}".format),
    ),
    "apply-cpu": (
        *("Applying a patch: processor time", "Ours: the whole client update.", "seconds"),
        *(lambda row: row.apply.cpu_s, "{:,.2f}".format),
    ),
    "apply-memory": (
        *("Applying a patch: peak memory", "Of the largest process.", "MiB"),
        *(lambda row: row.apply.peak_kib / 1024, "{:,.0f}".format),
    ),
}


def raw(row):
    """A row of rows.csv; a part left out of a round is empty."""
    cells = [row.pair, row.tool, row.patch_bytes]
    for spent in (getattr(row, part) for part in PARTS):
        cells += [f"{spent.cpu_s:.3f}", f"{spent.wall_s:.3f}", spent.peak_kib * 1024] if spent else ["", "", ""]
    return cells
