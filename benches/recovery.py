"""How fast a log opens, beside redis at its plain AOF."""

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
