"""Resident memory of an entry, beyond its key and value, beside redis and memcached."""

from collections.abc import Iterator

import load
import peers
from report import Section, Target
from setup import CAPACITY, Setup

ENTRIES = 5_000_000
KEY_BYTES = 16
VALUE_BYTES = 32
BYTES_MAX = 64.0


def memory(setup: Setup) -> Iterator[Section]:
    """Loads the same entries into each: one run, as the figure hardly varies."""
    entries = setup.count(ENTRIES)
    section = Section(
        f"Memory: {entries:,} entries, keys of {KEY_BYTES} and values of {VALUE_BYTES} bytes",
        "bytes an entry beyond key and value",
    )
    with peers.directory() as place, peers.pykv(setup.binary, place / "data", *CAPACITY) as peer:
        ours = _measure(section, peer, load.http(VALUE_BYTES), entries)
    with peers.directory() as place, peers.redis(place, "--appendonly", "no") as peer:
        _measure(section, peer, load.resp(VALUE_BYTES), entries)
    with peers.directory() as place, peers.memcached(place) as peer:
        _measure(section, peer, load.memcache(VALUE_BYTES), entries)
    section.targets.append(Target("pykv (under 48 is the best there is)", ours, BYTES_MAX, at_least=False))
    yield section


def _measure(section: Section, peer: peers.Peer, protocol: load.Protocol, entries: int) -> float:
    before = peer.settled_rss_bytes()
    load.load(peer.port, protocol, load.in_order(entries))
    after = peer.settled_rss_bytes()
    note = f"{before / 2**20:,.0f} MiB before, {after / 2**20:,.0f} MiB after"
    return section.add(peer.name, [(after - before) / entries - KEY_BYTES - VALUE_BYTES], note)
