"""How fast a store opens: a log of many writes a key beside redis at its plain AOF; distinct keys beside its RDB."""

import shutil
import subprocess
import time
from collections.abc import Iterator

import load
import peers
from report import Section, Target
from setup import CAPACITY, Setup

RECORDS = 5_000_000
KEYS = 1_000_000
VALUE_BYTES = 100
PER_SECOND_MIN = 1_200_000
RATIO_MIN = 2.0

# Plain commands, as a log is; never rewritten, as pykv's is not here either.
AOF = ("--appendonly", "yes", "--appendfsync", "no", "--aof-use-rdb-preamble", "no")
AOF += ("--auto-aof-rewrite-percentage", "0")
LOG = (*CAPACITY, "--fsync", "no")

DISTINCT_VALUE_BYTES = 40
DISTINCT_PER_SECOND_MIN = 2_300_000
DISTINCT_RATIO_MIN = 2.0

# It saves its RDB when it is stopped, and never before.
RDB = ("--save", "2000000000 1", "--appendonly", "no")


def recovery(setup: Setup) -> Iterator[Section]:
    """Writes both logs once, then times the way from the start of the process to its first answer."""
    records, keys = setup.count(RECORDS), setup.count(KEYS)
    title = f"Recovery: {records:,} SETs over {keys:,} keys, values of {VALUE_BYTES} bytes"
    section = Section(title, "records/s")
    with peers.directory() as ours, peers.directory() as theirs:
        starts = {
            "pykv": lambda: peers.pykv(setup.binary, ours / "data", *LOG),
            "redis": lambda: peers.redis(theirs, *AOF),
        }
        protocols = {"pykv": load.http(VALUE_BYTES), "redis": load.resp(VALUE_BYTES)}
        for name, start in starts.items():
            with start() as peer:
                load.load(peer.port, protocols[name], load.at_random(records, keys))
        speeds: dict[str, list[float]] = {name: [] for name in starts}
        for _ in range(setup.rounds):
            for name, start in starts.items():
                begin = time.monotonic()
                with start():
                    speeds[name].append(records / (time.monotonic() - begin))
        medians = {name: section.add(name, values) for name, values in speeds.items()}
    section.targets.append(Target("pykv", medians["pykv"], PER_SECOND_MIN))
    section.ratio("pykv / redis", medians["pykv"], medians["redis"], RATIO_MIN)
    yield section
    yield _distinct(setup)


def _distinct(setup: Setup) -> Section:
    """The same of keys that are written once: from a log, from the base that a compaction makes of it, from an RDB."""
    keys = setup.count(RECORDS)
    title = f"Recovery of {keys:,} distinct keys with values of {DISTINCT_VALUE_BYTES} bytes"
    section = Section(title, "entries/s")
    with peers.directory() as ours, peers.directory() as theirs:
        starts = {
            "pykv, log": lambda: peers.pykv(setup.binary, ours / "log", *LOG),
            "pykv, base": lambda: peers.pykv(setup.binary, ours / "base", *LOG),
            "redis, RDB": lambda: peers.redis(theirs, *RDB),
        }
        with starts["pykv, log"]() as peer:
            load.load(peer.port, load.http(DISTINCT_VALUE_BYTES), load.in_order(keys))
        shutil.copytree(ours / "log", ours / "base")
        compact = [setup.binary, "compact", "--dir", ours / "base"]
        subprocess.run(compact, check=True, capture_output=True)
        with starts["redis, RDB"]() as peer:
            load.load(peer.port, load.resp(DISTINCT_VALUE_BYTES), load.in_order(keys))
        speeds: dict[str, list[float]] = {name: [] for name in starts}
        for _ in range(setup.rounds):
            for name, start in starts.items():
                begin = time.monotonic()
                with start():
                    speeds[name].append(keys / (time.monotonic() - begin))
    medians = {name: section.add(name, values) for name, values in speeds.items()}
    for name in ("pykv, log", "pykv, base"):
        section.targets.append(Target(name, medians[name], DISTINCT_PER_SECOND_MIN))
        section.ratio(f"{name} / redis, RDB", medians[name], medians["redis, RDB"], DISTINCT_RATIO_MIN)
    return section
