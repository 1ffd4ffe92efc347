"""Compares what the client said to each step of a history with python-tuf's judgement; used by oracle.py.

Both stop at a stage (`root`, `root expired`, `head`, `head expired`, `build`, `release`) or accept, and the stages must be
the same. Where our rules are meant to differ from The Update Framework's, they are stated here a second time, from the
facts of the history alone; a step counts as that difference only if its condition holds, and everything else is a
disagreement. `AGREED` steps and each difference are counted by name.

| difference | ours | theirs | recognised by |
| --- | --- | --- | --- |
| `walk` | roots are asked for only if the head is unproved under the newest known one, names a newer one, that root has expired, a week has passed, or the last walk lies ahead | always | python-tuf is given what this rule asks for; the number of requests must be ours |
| `trusted time` | never before the client was built, nor before the `issued` of the last head and of this one | the clock | python-tuf is given that time; counted where the clock gives another stage |
| `rotation` | any change of the channel's keys forgets its last head, any change of the release keys the highest build | only one under which the old document no longer verifies | the role changed at some step since the memory was made; without that memory the stages must be the same |
| `double signature` | counts once | makes the document malformed | a signer stands twice; with it once the stages must be the same |
| `equivocation` | two bodies with one sequence are refused | the one at hand is used on | known sequence, other content |
| `issued` | a later sequence issued earlier is refused | no such field | exactly that |
| `impossible times` | a head issued after it expires is refused | no such field | exactly that |
| `names` | app, channel and platform must be ours | no such field | one of them is another |
| `threshold out of reach` | a root that asks for more release or channel keys than it names is refused | is accepted; nothing below it is | exactly that |
| `floor` | nothing below what is compiled in or installed, whatever was rotated | only what local metadata says | build below those two; or, below the highest seen too, the release is at fault and not looked at |
| `minimum` | a release refuses installed builds below its minimum | no such field | exactly that |
| `nothing to install` | installed, halted or bad builds: the head is accepted, the release not looked at | always fetched and judged | the first of those conditions that holds is the one reported |
| `check` | a check ends with the head | always fetched and judged | the goal |
| `order` | the head is judged before the expiry of the root | after it | root expired, and the head is unproved, broken or for others |

Not in the histories, having no counterpart there: roll-outs, a head without our platform, `!` keys. Both remember only what
a whole step proved: python-tuf's caller decides what is local, and here it is what our client keeps. What that is, and
each number in it, is stated here too and compared.
"""

import collections

import tuf_side

WEEK = 7 * 24 * 3600
AGREED = "agreed: "
DIFFERENCES = [
    "walk",
    "trusted time",
    "rotation",
    "double signature",
    "equivocation",
    "issued",
    "impossible times",
    "names",
    "threshold out of reach",
    "floor",
    "minimum",
    "nothing to install",
    "check",
    "order",
]
STAGES = ["root", "root expired", "head", "head expired", "build", "release", "accept"]
IDLE = ("up_to_date", "halted", "bad_build")


class Disagreement(Exception):
    """The two judge differently, and no rule says that they should."""


class Memory:
    """What is remembered from step to step: ours as facts, theirs as documents."""

    def __init__(self):
        self.roots = []
        self.walked = None
        # The last head that was accepted, the version of the root then, and the highest build.
        self.head = None
        self.root = None
        self.highest = 0
        self.documents = {}


class Walk:
    """The roots a client asks for in a step, and where that leaves it."""

    def __init__(self, chain, asked):
        self.chain = chain
        self.asked = asked
        self.ended = False
        self.refused = None
        self.head_form = None
        self.clock = None


class Comparer:
    """Goes through one history."""

    def __init__(self, history):
        self.history = history
        self.as_is = tuf_side.Documents(history, once=False)
        self.once = tuf_side.Documents(history, once=True)
        self.memory = Memory()
        self.counts = collections.Counter()

    def run(self):
        for number, step in enumerate(self.history["steps"]):
            try:
                self.step(step)
            except Disagreement as found:
                raise Disagreement(f"history {self.history['history']}, step {number}: {found}") from None
        self.counts["histories"] += 1
        return self.counts

    def step(self, step):
        self.counts["steps"] += 1
        if step["forgot"]:
            self.memory = Memory()
        head, ours = self.history["heads"][step["head"]], step["ours"]
        walk = self.walk(step, head)
        if walk.asked != ours["asked"]:
            raise Disagreement(f"asks for {ours['asked']} roots, the rule for {walk.asked}")
        if walk.refused in ("names", "threshold out of reach"):
            code = {"names": "E_WRONG_APP", "threshold out of reach": "E_DOCUMENT"}[walk.refused]
            self.demand(ours, ours["code"] == code and ours["document"] == "root", walk.refused)
            self.count(walk.refused)
        else:
            self.compare(step, head, walk)
        self.remember(step, head, walk)

    def count(self, what):
        self.counts[what] += 1

    def demand(self, ours, holds, theirs):
        if not holds:
            raise Disagreement(f"ours {ours['verdict']} {ours['code']} {ours['document']}, theirs {theirs}")

    def rotated(self, chain, role):
        """Whether a role has changed since the memory was made, be it there and back."""
        roots = [self.history["roots"][index] for index in chain]
        versions = [root["version"] for root in roots]
        if self.memory.root not in versions:
            return False
        since = roots[versions.index(self.memory.root) :]
        return any(before[role] != after[role] for before, after in zip(since, since[1:]))

    def known(self, chain):
        return None if self.rotated(chain, "channel") else self.memory.head

    def walk(self, step, head):
        walk = Walk([0, *self.memory.roots], 0)
        timestamp = tuf_side.halved(self.once.timestamp(step["head"]), step["head_cut"])
        while True:
            trusted, _ = tuf_side.trusting([self.once.root(index) for index in walk.chain])
            newest = self.history["roots"][walk.chain[-1]]
            known = self.known(walk.chain)
            walk.clock = max(step["clock"], self.history["built"], known["issued"] if known else 0)
            walk.head_form = tuf_side.head_form(trusted.root, timestamp)
            if walk.head_form == "proved" and head["issued"] > head["expires"]:
                walk.head_form = "impossible"
            if walk.head_form == "proved" and self.foreign(head, "app", "channel"):
                walk.head_form = "foreign"
            newer = walk.head_form == "proved" and head["root"] > newest["version"]
            week = self.memory.walked is not None and not 0 <= walk.clock - self.memory.walked < WEEK
            if not (walk.head_form == "unproved" or newer or week or newest["expires"] <= walk.clock):
                return walk
            walk.asked += 1
            # The pinned root is number 1, so number N is at N - 2.
            if newest["version"] - 1 >= len(step["roots"]):
                walk.ended = True
                return walk
            index = step["roots"][newest["version"] - 1]
            walk.chain.append(index)
            walk.refused = self.refused_root(walk.chain)
            if walk.refused:
                return walk

    def refused_root(self, chain):
        _, refusal = tuf_side.trusting([self.once.root(index) for index in chain])
        root = self.history["roots"][chain[-1]]
        if self.out_of_reach(root):
            return "root" if refusal else "threshold out of reach"
        if refusal:
            return "root"
        return "names" if self.foreign(root, "app") else None

    def out_of_reach(self, root):
        release = root["release"]
        return release["threshold"] > len(release["keys"]) or root["channel"]["threshold"] > root["channel_keys"]

    def foreign(self, document, *names):
        return any(document[name] != self.history[name] for name in names)

    def compare(self, step, head, walk):
        ours = step["ours"]
        stage, by = self.judged(step, head, walk)
        decided = self.decide(step, head, walk.chain)
        if ours["verdict"] in ("offer", "available") or ours["document"] == "release":
            self.demand(ours, decided == "offer", f"{stage}, {decided}")
        elif ours["code"] in (*IDLE, "below_floor"):
            self.demand(ours, decided == ours["code"], f"{stage}, {decided}")
        if stage == our_stage(ours):
            self.count(by or AGREED + stage)
        else:
            difference = self.difference(step, head, walk, stage)
            self.demand(ours, difference, stage)
            self.count(difference)
        self.count_time_and_walk(step, head, walk, stage)

    def judged(self, step, head, walk):
        """python-tuf's stage, and the difference that had to be taken out for it to be ours, if one had."""
        wanted = our_stage(step["ours"])
        stage = self.judge(self.as_is, step, head, walk)
        if stage == wanted:
            return stage, None
        by = None
        if self.doubly_signed(step, head, walk):
            by, before, stage = "double signature", stage, self.judge(self.once, step, head, walk)
            if stage == wanted:
                return stage, by
        if self.rotated(walk.chain, "channel") or self.rotated(walk.chain, "release"):
            stage = self.judge(self.once, step, head, walk, self.without_rotated(walk.chain))
            if stage == wanted:
                return stage, "rotation"
        return stage, None

    def judge(self, documents, step, head, walk, memory=None, clock=None):
        # What is stored was accepted, with each signature once.
        stored = 1 + len(self.memory.roots)
        roots = [self.once.root(index) for index in walk.chain[:stored]]
        roots += [documents.root(index) for index in walk.chain[stored:]]
        served = {
            "timestamp": tuf_side.halved(documents.timestamp(step["head"]), step["head_cut"]),
            "snapshot": documents.snapshot(step["head"]),
            "targets": tuf_side.halved(documents.targets(step["release"]), step["release_cut"]),
        }
        times = (clock, clock) if clock is not None else (walk.clock, max(walk.clock, head["issued"]))
        return tuf_side.judge(roots, self.memory.documents if memory is None else memory, served, *times)

    def without_rotated(self, chain):
        gone = {"timestamp": self.rotated(chain, "channel"), "snapshot": self.rotated(chain, "release")}
        return {name: data for name, data in self.memory.documents.items() if not gone[name]}

    def doubly_signed(self, step, head, walk):
        stored = 1 + len(self.memory.roots)
        documents = [self.history["roots"][index] for index in walk.chain[stored:]]
        documents += [head, self.history["releases"][head["release"]], self.history["releases"][step["release"]]]
        return any(len(set(document["signers"])) < len(document["signers"]) for document in documents)

    def highest(self, chain):
        return 0 if self.rotated(chain, "release") else self.memory.highest

    def local_floor(self, step):
        return max(self.history["floor"], 0 if step["installed"] is None else step["installed"] + 1)

    def decide(self, step, head, chain):
        if head["build"] == step["installed"]:
            return "up_to_date"
        if head["build"] < max(self.local_floor(step), self.highest(chain)):
            return "below_floor"
        return "halted" if head["halted"] else "bad_build" if head["bad"] else "offer"

    def difference(self, step, head, walk, stage):
        """Name of the meant difference this step shows, or nothing."""
        ours, known = step["ours"], self.known(walk.chain)
        code, below_head = ours["code"], stage in ("head expired", "build", "release", "accept")
        release = self.history["releases"][step["release"]]
        conditions = {
            "equivocation": code == "E_EQUIVOCATION" and below_head and known
            and head["sequence"] == known["sequence"] and tuf_side.said(head) != tuf_side.said(known),
            "issued": code == "E_OLDER_HEAD" and below_head and known
            and head["sequence"] > known["sequence"] and head["issued"] < known["issued"],
            "names": code in ("E_WRONG_APP", "E_WRONG_CHANNEL") and ours["document"] == "head"
            and walk.head_form == "foreign" and (below_head or stage == "head")
            or code in ("E_WRONG_APP", "E_WRONG_PLATFORM") and ours["document"] == "release"
            and self.foreign(release, "app", "platform") and stage == "accept",
            "impossible times": code == "E_DOCUMENT" and ours["document"] == "head"
            and walk.head_form == "impossible" and (below_head or stage == "head"),
            "floor": code == "below_floor"
            and (stage == "release" or stage == "accept" and head["build"] < self.local_floor(step)),
            "minimum": code == "E_BELOW_MINIMUM" and stage == "accept"
            and step["installed"] is not None and step["installed"] < release["minimum"],
            "nothing to install": code in IDLE and stage in ("build", "release", "accept"),
            "check": ours["verdict"] == "available" and step["goal"] == "check" and stage in ("release", "accept"),
            "order": ours["document"] == "head" and stage == "root expired" and walk.head_form != "proved",
        }
        return next((name for name, holds in conditions.items() if holds), None)

    def count_time_and_walk(self, step, head, walk, stage):
        memory = self.without_rotated(walk.chain)
        if max(walk.clock, head["issued"]) != step["clock"]:
            if self.judge(self.once, step, head, walk, memory, step["clock"]) != stage:
                self.count("trusted time")
        rest = step["roots"][len(walk.chain) - 1 :]
        if rest and not walk.ended and not walk.refused:
            whole = Walk(walk.chain + rest, 0)
            whole.clock = walk.clock
            if self.judge(self.once, step, head, whole, memory) != stage:
                self.count("walk")

    def remember(self, step, head, walk):
        ours, memory = step["ours"], self.memory
        offered = ours["verdict"] == "offer"
        if not (offered or ours["code"] in (*IDLE, "below_floor")):
            self.demand(ours, ours["kept"] is None, "nothing to keep")
            return
        if offered:
            memory.highest = max(self.highest(walk.chain), head["build"])
        else:
            memory.highest = self.highest(walk.chain)
        documents = {"snapshot": self.once.snapshot(step["head"])} if offered else self.without_rotated(walk.chain)
        memory.documents = {**documents, "timestamp": self.once.timestamp(step["head"])}
        memory.roots = walk.chain[1:]
        memory.walked = step["clock"] if walk.ended else step["clock"] if memory.walked is None else memory.walked
        memory.head, memory.root = head, self.history["roots"][walk.chain[-1]]["version"]
        kept = {
            "roots": len(memory.roots),
            "walked": memory.walked,
            "sequence": head["sequence"],
            "issued": head["issued"],
            "highest": memory.highest,
            "root": memory.root,
        }
        self.demand(ours, ours["kept"] == kept, f"keeps {ours['kept']}, expected {kept}")


def our_stage(ours):
    """Where our client stopped, in the words both share; other words never match theirs."""
    if ours["verdict"] == "offer":
        return "accept"
    if ours["verdict"] == "refused":
        return ours["document"]
    return {"root_expired": "root expired", "stale": "head expired", "below_floor": "build"}.get(ours["code"], "idle")
