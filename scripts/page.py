#!/usr/bin/env python3
"""Looks at a site's report for people, index.html, in a real Chromium.

usage: scripts/page.py [--record] [--keep FILE]

A site with twelve releases on two platforms is made, and its page is opened from a file and from a server: every drawing
is drawn, nothing is said on the console and nothing asked of the network, everything has a name, texts stand out enough from
what is behind them, in light and in dark; it fits a phone, prints, and says its dates without script. --record keeps the
picture in docs/images/, --keep the page itself.
"""

import argparse
import contextlib
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile

import cdp
import lab
from lab import REPOSITORY, LabError, free_port, run

APP = "org.example.lantern"
PLATFORMS = ("linux-x86_64", "windows-x86_64")
RELEASES = 12
DAY_S = 86_400

# What is wrong with the page as it is drawn, as a list of sentences.
LOOK = r"""
(() => {
  const wrong = [];
  const name = (e) => `${e.tagName.toLowerCase()}${e.id ? "#" + e.id : ""} ${(e.textContent || "").trim().slice(0, 40)}`;
  if (document.documentElement.lang !== "en") wrong.push("the page has no language");
  if (!document.title) wrong.push("the page has no title");
  let level = 0;
  for (const h of document.querySelectorAll("h1,h2,h3,h4,h5,h6")) {
    const now = Number(h.tagName[1]);
    if (now > level + 1) wrong.push(`${name(h)} follows a heading of level ${level}`);
    level = now;
  }
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids)) if (ids.filter((i) => i === id).length > 1) wrong.push(`id ${id} stands twice`);
  for (const e of document.querySelectorAll("[aria-labelledby]"))
    for (const id of e.getAttribute("aria-labelledby").split(" "))
      if (!document.getElementById(id)) wrong.push(`${name(e)} is named by ${id}, which is not there`);
  const svgs = [...document.querySelectorAll("svg")];
  for (const svg of svgs) {
    const box = svg.getBoundingClientRect();
    if (box.width < 200 || box.height < 80) wrong.push(`${name(svg)} is ${box.width} by ${box.height}`);
    if (svg.getAttribute("role") !== "img" || !svg.querySelector("title").textContent) wrong.push(`${name(svg)} has no name`);
    const shapes = [...svg.querySelectorAll("rect,path.curve")];
    if (!shapes.length) wrong.push(`${name(svg)} is empty`);
    for (const shape of shapes) {
      const s = shape.getBoundingClientRect();
      if (!(s.width > 0 && s.height > 0)) wrong.push(`a shape of ${name(svg)} has no size`);
      if (s.left < box.left - 1 || s.right > box.right + 1 || s.top < box.top - 1 || s.bottom > box.bottom + 1)
        wrong.push(`a shape of ${name(svg)} lies outside of it`);
    }
    for (const text of svg.querySelectorAll("text")) {
      const t = text.getBoundingClientRect();
      if (t.width && (t.left < box.left - 1 || t.right > box.right + 1)) wrong.push(`${name(text)} is cut off in ${svg.id}`);
      if (t.height && t.height < 9) wrong.push(`${name(text)} is too small to read: ${t.height}`);
    }
  }
  for (const table of document.querySelectorAll("table")) {
    if (!table.querySelector("thead th[scope=col]")) wrong.push(`${name(table)} has no column headings`);
    for (const row of table.querySelectorAll("tbody tr"))
      if (!row.querySelector("th[scope=row]")) wrong.push(`${name(row)} has no row heading`);
  }
  const colour = (text) => {
    const parts = text.match(/[\d.]+/g).map(Number);
    return text.startsWith("color(") ? [...parts.slice(0, 3).map((p) => p * 255), parts[3] ?? 1] : [...parts.slice(0, 3), parts[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const behind = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) layers.push(colour(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let texts = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || ["SCRIPT", "STYLE", "TITLE", "DESC"].includes(e.tagName.toUpperCase())) continue;
    if (!e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const back = behind(e.closest("svg") || e);
    const front = over(colour(e.closest("svg") ? style.fill : style.color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    texts += 1;
    if ((a + 0.05) / (b + 0.05) < 4.5) wrong.push(`${name(e)} has a contrast of ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return { wrong, svgs: svgs.length, texts, paper: light(behind(document.body)) };
})()
"""


def noise(seed, length):
    """Bytes nothing compresses, the same for the same seed."""
    return random.Random(seed).randbytes(length)


def prose(seed, lines):
    dice = random.Random(seed)
    words = "lamp wick oil flame glass street night round ladder brass bright early late turn keep".split()
    return "".join(" ".join(dice.choices(words, k=9)) + ".\n" for _ in range(lines)).encode()


def write_tree(tree, number, platform):
    """One release of an app that grows: code that changes a little, texts, an archive its build compresses."""
    shutil.rmtree(tree, ignore_errors=True)
    program = bytearray(b"\x7fELF" if platform.startswith("linux") else b"MZ\0\0")
    for part in range(40 + number):
        # Of every release some parts are new.
        program += noise(f"{platform}-{part}-{max((n for n in range(number + 1) if (part * 7 + n) % 23 == 0), default=0)}", 24_000)
    files = {
        "bin/lantern" if platform.startswith("linux") else "lantern.exe": bytes(program),
        "lib/glow.so": noise(f"glow-{number // 4}-{platform}", 300_000),
        "doc/manual.txt": prose(1, 4000 + 40 * number) + prose(number, 20),
        "share/icons.dat": noise("icons", 700_000),
    }
    for language in ("de", "en", "fr", "ja", "pt-br"):
        files[f"locale/{language}.txt"] = prose(language, 600 + 10 * number)
    if number >= 6:
        files[f"share/theme-{number}.css"] = prose("css", 200)
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with zipfile.ZipFile(tree / "assets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for part in range(12):
            entry = zipfile.ZipInfo(f"level-{part}.txt", (2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, prose(f"level-{part}-{number // (part + 1)}", 500))
    (tree / "data.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + noise(f"data-{number // 2}", 150_000))


def make_site(scratch):
    """Twelve releases over some months; the last is under way to its users."""
    site, keys, publisher = scratch / "site", scratch / "keys", lab.binaries() / "publisher"
    now = int(time.time())
    run(publisher, "keygen", "--out", keys)
    first = {"SOURCE_DATE_EPOCH": str(now - RELEASES * 9 * DAY_S)}
    run(publisher, "init", "--site", site, "--app", APP, "--keys", keys, env=first)
    common = ["--site", site, "--app", APP, "--keys", keys]
    for number in range(1, RELEASES + 1):
        made = now - (RELEASES - number) * 9 * DAY_S - DAY_S
        flags = ["--channel", "stable", "--build", number, "--version", f"2.{number - 1}", "--bases", 4, "--effort", 3]
        if number == RELEASES:
            flags += ["--rollout", "5%, 25% after 18h, 50% after 2d, 100% after 4d"]
        for platform in PLATFORMS:
            tree = scratch / "trees" / platform
            write_tree(tree, number, platform)
            flags += ["--platform", f"{platform}={tree}"]
        run(publisher, "build-release", *common, *flags, env={"SOURCE_DATE_EPOCH": str(made)})
    run(publisher, "promote", *common, "--channel", "beta", "--build", RELEASES, env={"SOURCE_DATE_EPOCH": str(now)})
    return site


@contextlib.contextmanager
def server(site):
    """The site as a bucket would hand it out."""
    port = free_port()
    process = subprocess.Popen(
        [lab.binaries() / "publisher", "serve", "--site", site, "--listen", f"127.0.0.1:{port}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(timeout=20)


def expect(truth, what):
    if not truth:
        raise LabError(what)


def look(browser, where):
    """Looks at the page as it is drawn now."""
    found = browser.evaluate(LOOK)
    expect(not found["wrong"], f"{where}:\n  " + "\n  ".join(found["wrong"][:20]))
    expect(not browser.said(), f"{where}: the console says {browser.said()[:3]}")
    return found


def check(browser, url, kind):
    browser.window(1100, 900)
    browser.visit(url)
    expect(browser.requested() == [url], f"{kind}: asked for {browser.requested()}")
    found = look(browser, f"{kind}, light")
    # A curve, and two drawings of sizes a platform.
    expect(found["svgs"] == len(PLATFORMS) * 3, f"{kind}: {found['svgs']} drawings")
    expect(found["texts"] > 200 and found["paper"] > 0.8, f"{kind}: {found}")
    now = browser.evaluate("[...document.querySelectorAll('svg .now text')].map((t) => t.textContent).join()")
    expect(now == "now: 25 %,now: 25 %", f"{kind}: the marker says {now!r}")
    left = browser.evaluate("document.body.innerText.includes('days left')")
    expect(left, f"{kind}: it does not say how long it is good")
    names = browser.call("Accessibility.getFullAXTree")["nodes"]
    images = [node for node in names if node.get("role", {}).get("value") == "image" and not node.get("ignored")]
    expect(len(images) == found["svgs"] and all(node["name"]["value"] for node in images), f"{kind}: images without names")
    browser.window(1100, 900, dark=True)
    expect(look(browser, f"{kind}, dark")["paper"] < 0.05, f"{kind}: dark is not dark")
    for width in (360, 320):
        browser.window(width, 740)
        look(browser, f"{kind}, {width} wide")
        wide = browser.evaluate("document.documentElement.scrollWidth")
        expect(wide <= width, f"{kind}: {wide} pixels wide on a screen of {width}")
    browser.window(1100, 900)
    pdf = browser.call("Page.printToPDF", printBackground=False)["data"]
    expect(pdf.startswith("JVBERi0") and len(pdf) > 20_000, f"{kind}: it does not print")


def check_without_script(browser, url):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.visit(url)
    root = browser.call("DOM.getDocument", depth=0)["root"]["nodeId"]
    html = browser.call("DOM.getOuterHTML", nodeId=root)["outerHTML"]
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    body = html[html.index("<body") : html.index("<script>")]
    expect("days left" not in body, "script ran where it was off")
    year = time.strftime("%Y-", time.gmtime())
    expect("good until <time" in body and f">{year}" in body and "25 % from" in body, "dates are told by script only")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--record", action="store_true", help="keep the picture in docs/images/")
    parser.add_argument("--keep", type=pathlib.Path, help="keep the page here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lamplighter-page-") as directory:
        scratch = pathlib.Path(directory)
        site = make_site(scratch)
        if args.keep:
            shutil.copy(site / "index.html", args.keep)
        run(lab.binaries() / "publisher", "verify", "--site", site, "--no-proof")
        again = scratch / "again.html"
        run(lab.binaries() / "publisher", "page", "--site", site, "--out", again)
        expect(again.read_bytes() == (site / "index.html").read_bytes(), "the page of the same site is another")
        with cdp.Chromium(scratch / "chromium") as browser:
            page = (site / "index.html").as_uri()
            check(browser, page, "a file")
            with server(site) as url:
                check(browser, url, "a server")
            check_without_script(browser, page)
            for name, dark in (("page", False), ("page-dark", True)):
                browser.window(1000, 1180, dark=dark, scale=1)
                browser.visit(page)
                target = REPOSITORY / "docs/images" if args.record else scratch
                # By day the channels, by night the first platform.
                top = browser.evaluate("document.getElementById('platforms').offsetTop - 20") if dark else 0
                browser.picture(target / f"{name}.png", top, 1000, 980)
                expect((target / f"{name}.png").stat().st_size > 20_000, "the picture is empty")
    print(f"page: {RELEASES} releases on {len(PLATFORMS)} platforms, drawn from a file and from a server; nothing is wrong")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"page: {error}")
