"""Documents of a history as metadata of The Update Framework, and python-tuf's judgement of them; used by oracle.py.

| here | there |
| --- | --- |
| root | root, its role `root`; each asked for by number |
| head, channel role | timestamp, role `timestamp`; its sequence is the version |
| what the head says of the release | snapshot, signed as the release is, role `snapshot`; the build is the version of its targets |
| release, release role | targets, role `targets`; its build is the version |

A head names its release by length and digest: so the timestamp pins the snapshot, and that pins the targets. Snapshot and
targets share the release keys, since the highest build is forgotten when those are rotated, and a snapshot is what
python-tuf takes the highest build from.

`TrustedMetadataSet` is the part of python-tuf that believes and disbelieves, without files and requests; documents are
given to it in the order of its `Updater`. What local memory it is given is the caller's matter, in both.
"""

import copy
import datetime
import functools
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.formats import encode_canonical
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

FAR = 32_000_000_000


@functools.cache
def key(seed):
    """Secret key and public half in hexadecimal digits, which serve as its id."""
    secret = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return secret, secret.public_key().public_bytes_raw().hex()


def moment(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def written(signed, signers):
    """The document with a signature of each of `signers`, also where one stands twice."""
    signed = {"spec_version": "1.0.31", **signed, "expires": moment(signed["expires"]).strftime("%Y-%m-%dT%H:%M:%SZ")}
    body = encode_canonical(signed).encode()
    signatures = [{"keyid": key(seed)[1], "sig": key(seed)[0].sign(body).hex()} for seed in signers]
    return json.dumps({"signatures": signatures, "signed": signed}).encode()


def pinned(data, version):
    return {"version": version, "length": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}


def halved(data, cut):
    return data[: len(data) // 2] if cut else data


class Documents:
    """Those of one history; `once`: no signature stands twice."""

    def __init__(self, history, once):
        self.history = history
        self.once = once
        self.made = {}

    def _made(self, kind, index, make):
        found = self.made.get((kind, index))
        if found is None:
            found = self.made[kind, index] = make()
        return found

    def _signers(self, document):
        return list(dict.fromkeys(document["signers"])) if self.once else document["signers"]

    def root(self, index):
        return self._made("root", index, lambda: self._root(self.history["roots"][index]))

    def _root(self, root):
        role = lambda keys: {"threshold": keys["threshold"], "keyids": [key(seed)[1] for seed in keys["keys"]]}
        channel = dict(root["channel"], keys=list(dict.fromkeys(root["channel"]["keys"])))
        seeds = {*root["root"]["keys"], *root["release"]["keys"], *channel["keys"]}
        keys = {key(s)[1]: {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": key(s)[1]}} for s in seeds}
        roles = {
            "root": role(root["root"]),
            "timestamp": role(channel),
            "snapshot": role(root["release"]),
            "targets": role(root["release"]),
        }
        signed = {"_type": "root", "version": root["version"], "expires": root["expires"], "x-app": root["app"]}
        signed |= {"consistent_snapshot": True, "keys": keys, "roles": roles}
        return halved(written(signed, self._signers(root)), root["cut"])

    def targets(self, index):
        return self._made("targets", index, lambda: self._targets(self.history["releases"][index]))

    def _targets(self, release):
        digest = hashlib.sha256(str(release["content"]).encode()).hexdigest()
        signed = {"_type": "targets", "version": release["build"], "expires": FAR, "x-names": names_of_release(release)}
        signed["targets"] = {"manifest.csv": {"length": 1, "hashes": {"sha256": digest}}}
        return written(signed, self._signers(release))

    def snapshot(self, index):
        return self._made("snapshot", index, lambda: self._snapshot(self.history["heads"][index]))

    def _snapshot(self, head):
        meta = {"targets.json": pinned(self.targets(head["release"]), head["build"])}
        signed = {"_type": "snapshot", "version": head["sequence"], "expires": FAR, "meta": meta}
        return written(signed, self._signers(self.history["releases"][head["release"]]))

    def timestamp(self, index):
        return self._made("timestamp", index, lambda: self._timestamp(self.history["heads"][index], index))

    def _timestamp(self, head, index):
        signed = {"_type": "timestamp", "version": head["sequence"], "expires": head["expires"], "x-rest": said(head)}
        signed["meta"] = {"snapshot.json": pinned(self.snapshot(index), head["sequence"])}
        return written(signed, self._signers(head))


def names_of_release(release):
    return [release["app"], release["platform"], str(release["minimum"])]


def said(head):
    """What a head says, without who signed it."""
    return {name: str(value) for name, value in head.items() if name != "signers"}


@functools.lru_cache(maxsize=100)
def believing(roots):
    """python-tuf, believing `roots[0]`, and its refusal of the last of them, if any; not to be changed."""
    if len(roots) == 1:
        return TrustedMetadataSet(roots[0], EnvelopeType.METADATA), None
    trusted, refusal = believing(roots[:-1])
    if refusal is None:
        trusted = own(trusted)
        try:
            trusted.update_root(roots[-1])
        except exceptions.RepositoryError as error:
            refusal = error
    return trusted, refusal


def own(trusted):
    """One that can be given more without changing the other: what it holds is only ever replaced whole."""
    mine = copy.copy(trusted)
    mine._trusted_set = dict(trusted._trusted_set)
    mine._trusted_delegations = set(trusted._trusted_delegations)
    return mine


def trusting(roots, clock=0):
    """A python-tuf of one's own that believes `roots[0]`, and its refusal of one of the others, if any."""
    trusted, refusal = believing(tuple(roots))
    trusted = own(trusted)
    trusted.reference_time = moment(clock)
    return trusted, refusal


def head_form(root: Root, data):
    """Whether a timestamp is `broken`, `unproved` or `proved` under a root."""
    try:
        document = Metadata[Timestamp].from_bytes(data)
    except exceptions.RepositoryError:
        return "broken"
    proved = root.get_verification_result("timestamp", document.signed_bytes, document.signatures)
    return "proved" if proved else "unproved"


def judge(roots, memory, served, clock, head_clock):
    """python-tuf's judgement: the stage it stops at, or `accept`.

    `memory` and `served` hold the timestamp, the snapshot and (served) the targets; `head_clock` is the time from which the
    head is judged, as accepting it is what may move time forward.
    """
    trusted, refusal = trusting(roots, clock)
    if refusal:
        return "root"
    remember(trusted.update_timestamp, memory.get("timestamp"))
    try:
        trusted.update_timestamp(served["timestamp"])
    except exceptions.EqualVersionNumberError:
        pass
    except exceptions.ExpiredMetadataError:
        return "root expired" if trusted.root.is_expired(trusted.reference_time) else "head expired"
    except exceptions.RepositoryError:
        return "head"
    trusted.reference_time = moment(head_clock)
    if trusted.timestamp.is_expired(trusted.reference_time):
        return "head expired"
    remember(functools.partial(trusted.update_snapshot, trusted=True), memory.get("snapshot"))
    try:
        trusted.update_snapshot(served["snapshot"])
    except exceptions.BadVersionNumberError:
        return "build"
    except exceptions.RepositoryError:
        return "release"
    try:
        trusted.update_targets(served["targets"])
    except exceptions.RepositoryError:
        return "release"
    return "accept"


def remember(update, data):
    """Loads what was accepted before; that it is no longer final, or no longer proved, is no matter."""
    if data is None:
        return
    try:
        update(data)
    except exceptions.RepositoryError:
        pass
