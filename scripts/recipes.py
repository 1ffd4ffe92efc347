#!/usr/bin/env python3
"""Runs the recipes of ci/ against a site in a directory: what stands in their steps, as their CI would run it.

usage: scripts/recipes.py      (`make recipes`); needs PyYAML. LAMPLIGHTER_BIN: where the programs are; target/release otherwise

Each recipe takes two platforms of a build through a matrix, moves the channel, uploads, looks at the result as a client does, signs
heads again; then a client installs what is there. A channel is not moved while a platform is missing. Steps that `use` other actions
are CI's own and are left out, as is the download of the publisher, but for one step that is run with a file:// address.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = pathlib.Path(os.environ.get("LAMPLIGHTER_BIN", REPOSITORY / "target/release")).resolve()
APP = "org.example.recipes"
PLATFORMS = ["linux-x86_64", "windows-x86_64"]
CONDITION = re.compile(r"inputs\.([\w-]+) (==|!=) '([^']*)'")
INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


class World:
    """A directory with keys, a site and two builds of an app; and the environment of a job."""

    def __init__(self, work):
        self.work = pathlib.Path(work)
        self.run("publisher keygen --out keys")
        self.run(f"publisher init --site site --app {APP} --keys keys")
        for build in (1, 2):
            for platform in PLATFORMS:
                directory = self.work / f"dist-{build}-{platform}"
                directory.mkdir()
                (directory / "app").write_text(f"{platform} {build}\n" * 1000)

    def secret(self, role):
        return {f"LAMPLIGHTER_{role.upper()}_KEY": (self.work / f"keys/{role}.key").read_text()}

    def run(self, script, environment=None, shell=("bash", "-e", "-o", "pipefail", "-c"), code=0):
        """Runs `script` as a step, and fails unless it ends with `code`."""
        outer = {name: value for name, value in os.environ.items() if not name.startswith("LAMPLIGHTER_")}
        outer["PATH"] = f"{PROGRAMS}:{outer['PATH']}"
        outer |= {"RUNNER_TEMP": str(self.work / "runner"), "GITHUB_PATH": str(self.work / "github-path")}
        done = subprocess.run(
            [*shell, script], cwd=self.work, env=outer | (environment or {}), capture_output=True, text=True, timeout=120
        )
        if done.returncode != code:
            sys.exit(f"expected exit code {code}, found {done.returncode} of\n{script}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def head(self):
        head = self.work / "public/channels/stable.head"
        return head.read_bytes() if head.exists() else None

    def installs(self, tree, build):
        """A client installs from what was uploaded and has `build`."""
        for platform in PLATFORMS:
            self.run(
                f"client install --site public --root site/root/1.root --app {APP} --channel stable --platform {platform} "
                f"--tree {tree}-{platform}"
            )
            text = (self.work / f"{tree}-{platform}/app").read_text()
            if text != f"{platform} {build}\n" * 1000:
                sys.exit(f"{platform}: expected build {build}, found {text[:40]!r}")


class Github:
    """The composite action, with its inputs as `with:` gives them."""

    name = "ci/github/action.yml"

    def __init__(self, world):
        self.world = world
        self.action = yaml.safe_load((REPOSITORY / self.name).read_text())
        inputs = self.action["inputs"]
        self.defaults = {name: str(given.get("default", "")) for name, given in inputs.items()}
        for step in self.action["runs"]["steps"]:
            for name in INPUT.findall(str(step)) + [found[0] for found in CONDITION.findall(step.get("if", ""))]:
                if name not in inputs:
                    sys.exit(f"{self.name}: the step {step['name']!r} reads the input {name}, which there is not")
            if "${{" in step["run"]:
                sys.exit(f"{self.name}: the step {step['name']!r} has an expression in its script: pass it by env")

    def use(self, secret, code=0, **given):
        inputs = self.defaults | {"site": "site", "app": APP} | {name.replace("_", "-"): str(v) for name, v in given.items()}
        said = ""
        steps = [step for step in self.action["runs"]["steps"] if self.applies(step.get("if", ""), inputs)]
        for number, step in enumerate(steps):
            variables = {name: INPUT.sub(lambda m: inputs[m[1]], text) for name, text in step.get("env", {}).items()}
            # A refusal ends the job where it happens: in the first step here.
            wanted = code if number == 0 else 0
            said += self.world.run(step["run"], variables | secret, code=wanted)
            if wanted:
                break
        return said

    @staticmethod
    def applies(condition, inputs):
        found = CONDITION.findall(condition)
        if bool(condition) != bool(found):
            sys.exit(f"not understood: if: {condition}")
        return all((inputs[name] == value) == (sign == "==") for name, sign, value in found)

    def build(self, build, platform):
        directory = f"dist-{build}-{platform}"
        self.use(self.world.secret("release"), do="build", build=build, version=f"{build}.0", platform=platform,
                 directory=directory, move_channel="false")

    def finish(self, build, code=0):
        self.use(self.world.secret("channel"), code, do="finish", build=build, platform=" ".join(PLATFORMS),
                 rollout="100%", upload_to="public", url="public")

    def refresh(self):
        self.use(self.world.secret("channel"), do="refresh", upload_to="public", url="public")

    def gets_the_publisher(self):
        """The first step, with a file in place of a download: refused if it is another than was named."""
        program = self.world.work / "download"
        program.write_text("#!/bin/sh\n")
        digest = subprocess.run(["sha256sum", program], check=True, capture_output=True, text=True).stdout.split()[0]
        step = self.action["runs"]["steps"][0]
        self.world.run(step["run"], {"URL": f"file://{program}", "SHA256": digest})
        self.world.run(step["run"], {"URL": f"file://{program}", "SHA256": "0" * 64}, code=1)


class Gitlab:
    """The template's jobs, with what they extend."""

    name = "ci/gitlab/lamplighter.gitlab-ci.yml"

    def __init__(self, world):
        self.world = world
        self.jobs = yaml.safe_load((REPOSITORY / self.name).read_text())

    def resolved(self, name):
        job = self.jobs[name]
        base = self.resolved(job["extends"]) if "extends" in job else {}
        return base | job | {"variables": base.get("variables", {}) | job.get("variables", {})}

    def use(self, name, secret, code=0, **given):
        job = self.resolved(name)
        variables = {key: str(value) for key, value in job["variables"].items()}
        variables |= {"SITE": "site", "APP": APP} | {key.upper(): str(value) for key, value in given.items()}
        script = "\n".join(job["before_script"] + job["script"])
        return self.world.run(script, variables | secret, shell=("sh", "-e", "-c"), code=code)

    def build(self, build, platform):
        self.use(".lamplighter-build", self.world.secret("release"), build=build, version=f"{build}.0", platform=platform,
                 directory=f"dist-{build}-{platform}", move_channel="false")

    def finish(self, build, code=0):
        self.use(".lamplighter-finish", self.world.secret("channel"), code, build=build, platform=" ".join(PLATFORMS),
                 rollout="100%", upload_to="public", site_url="public")

    def refresh(self):
        """The scheduled job is of scripts/schedules, and tested with those."""


class Shell:
    """ci/publish.sh."""

    name = "ci/publish.sh"

    def __init__(self, world):
        self.world = world

    def use(self, task, secret, code=0, **given):
        variables = {"SITE": "site", "APP": APP} | {key.upper(): str(value) for key, value in given.items()}
        return self.world.run(shlex.join([str(REPOSITORY / self.name), task]), variables | secret, code=code)

    def build(self, build, platform):
        self.use("build", self.world.secret("release"), build=build, version=f"{build}.0", platform=platform,
                 directory=f"dist-{build}-{platform}", no_channel="1")

    def finish(self, build, code=0):
        self.use("finish", self.world.secret("channel"), code, build=build, platform=" ".join(PLATFORMS), rollout="100%",
                 upload_to="public", site_url="public")

    def refresh(self):
        self.use("refresh", self.world.secret("channel"), upload_to="public", site_url="public")


def check(kind):
    with tempfile.TemporaryDirectory(prefix="recipe-") as work:
        world = World(work)
        recipe = kind(world)
        if hasattr(recipe, "gets_the_publisher"):
            recipe.gets_the_publisher()
        for build in (1, 2):
            before = world.head()
            recipe.build(build, PLATFORMS[0])
            # The other platform is missing: the channel stays where it is.
            recipe.finish(build, code=5)
            if world.head() != before:
                sys.exit(f"{kind.name}: the channel moved although a platform was missing")
            recipe.build(build, PLATFORMS[1])
            recipe.finish(build)
            if world.head() == before:
                sys.exit(f"{kind.name}: the channel did not move")
            world.installs(f"tree-{build}", build)
        recipe.refresh()
    print(f"recipes: {kind.name} does what it says")


def check_workflow(name):
    """The example gives the action what it knows, and what it asks for."""
    inputs = yaml.safe_load((REPOSITORY / Github.name).read_text())["inputs"]
    required = {key for key, given in inputs.items() if given.get("required")}
    for job in yaml.safe_load((REPOSITORY / name).read_text())["jobs"].values():
        for step in job["steps"]:
            given = set(step["with"]) if "lamplighter" in step.get("uses", "") else required
            if not required <= given <= set(inputs):
                sys.exit(f"{name}: expected inputs of the action, found {sorted(given)}")


def main():
    check_workflow("ci/github/release.yml")
    for kind in (Github, Gitlab, Shell):
        check(kind)


if __name__ == "__main__":
    main()
