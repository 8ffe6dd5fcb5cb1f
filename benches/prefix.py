"""Listings by prefix in a large store, and what the order of keys costs that they go by."""

import contextlib
import http.client
import json
import shutil
import socket
import time
from collections.abc import Iterator
from random import Random

import load
import peers
import speed
import wrk
from report import Section, Target
from setup import CAPACITY, Setup

ENTRIES = 5_000_000
VALUE_BYTES = 32
LISTINGS = 200
FOUND = 10

LISTING_MS_MAX = 1.0
ORDER_BYTES_MAX = 8.0
PUT_RATIO_MIN = 0.95

# What a cursor has in place of a slot once keys are in order.
IN_ORDER = "ffffffff"


def prefix(setup: Setup) -> Iterator[Section]:
    """Listings of ten keys, memory of an entry, and PUTs of new keys."""
    entries = setup.count(ENTRIES)
    listings = Section(f"A listing of {FOUND} keys of {entries:,} by their prefix", "ms")
    order = Section(f"The order of {entries:,} keys", "bytes an entry; s")
    with contextlib.ExitStack() as stack:
        first, second, other = (stack.enter_context(peers.directory()) for _ in range(3))
        with peers.pykv(setup.binary, first / "data", *CAPACITY) as peer:
            load.load(peer.port, load.http(VALUE_BYTES), load.in_order(entries))
        shutil.copytree(first / "data", second / "data")
        figures: dict[str, list[float]] = {}
        for number in range(setup.rounds):
            with peers.pykv(setup.binary, first / "data", *CAPACITY) as peer:
                for name, value in _listed(peer, entries, number).items():
                    figures.setdefault(name, []).append(value)
        theirs = stack.enter_context(peers.redis(other, "--appendonly", "no"))
        load.load(theirs.port, load.resp(VALUE_BYTES), load.in_order(entries))
        scans = [_scanned(theirs.port, entries) for _ in range(setup.rounds)]
        for what in ("first, by all slots", "in order", "in order, p99"):
            middle = listings.add(f"pykv: {what}", figures[what])
            if what == "in order":
                listings.targets.append(Target("pykv: in order", middle, LISTING_MS_MAX, at_least=False))
        listings.add("redis: SCAN with MATCH", scans)
        theirs.stop()
        memory = order.add("memory", figures["memory"])
        order.targets.append(Target("memory", memory, ORDER_BYTES_MAX, at_least=False))
        order.add("made after, s", figures["made after, s"])
        yield listings
        yield order
        yield _put(setup, stack, first, second)


def _put(setup: Setup, stack: contextlib.ExitStack, first: peers.Path, second: peers.Path) -> Section:
    """PUTs of new keys on two nodes of the same keys, of which one has them in order."""
    section = Section("PUT of 100 bytes under new keys, 64 connections, everysec", "requests/s")
    ordered = stack.enter_context(peers.pykv(setup.binary, first / "data", *CAPACITY))
    plain = stack.enter_context(peers.pykv(setup.binary, second / "data", *CAPACITY))
    _put_in_order(ordered.port)
    rounds: dict[str, list[float]] = {"without an order": [], "in order": []}
    for number in range(max(setup.rounds, 3)):
        for name, peer in zip(rounds, (plain, ordered), strict=True):
            target = wrk.Target(peer.port, "put_new", "/kv/", "?upsert=true", (f"Content-Type: {speed.RAW}",))
            result = wrk.run(target, connections=64, seconds=setup.seconds, seed=number + 1)
            rounds[name].append(result.per_second)
    for name, values in rounds.items():
        section.add(name, values)
    # Of neighbours in time: the machine is not the same from one minute to the next.
    pairs = zip(rounds["in order"], rounds["without an order"], strict=True)
    ratio = section.add("in order over without", [one / other for one, other in pairs])
    section.targets.append(Target("in order over without", ratio, PUT_RATIO_MIN))
    return section


def _listed(peer: peers.Peer, entries: int, seed: int) -> dict[str, float]:
    """Of a node that has just started: its first listing, its order, and listings by that."""
    before = peer.settled_rss_bytes()
    begin = time.monotonic()
    first = _list(peer.port, entries, Random(seed), 1)
    _put_in_order(peer.port)
    made = time.monotonic() - begin
    memory = (peer.settled_rss_bytes() - before) / entries
    times = sorted(_list(peer.port, entries, Random(seed), LISTINGS))
    return {
        "first, by all slots": first[0],
        "in order": times[len(times) // 2],
        "in order, p99": times[len(times) * 99 // 100],
        "memory": memory,
        "made after, s": made,
    }


def _put_in_order(port: int) -> None:
    """Lists until the keys are in order."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while True:
        client.request("GET", f"/kv/?prefix=k{0:014d}&limit=2")
        cursor = json.loads(client.getresponse().read())["cursor"]
        if cursor[16:24] == IN_ORDER:
            break
        time.sleep(0.1)
    client.close()


def _list(port: int, entries: int, source: Random, count: int) -> list[float]:
    """How long listings take, in ms."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    client.connect()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times = []
    for _ in range(count):
        ten = source.randrange(entries // FOUND)
        begin = time.perf_counter()
        client.request("GET", f"/kv/?prefix=k{ten:014d}")
        keys = json.loads(client.getresponse().read())["keys"]
        times.append((time.perf_counter() - begin) * 1000)
        if sorted(keys) != [f"k{ten * FOUND + last:015d}" for last in range(FOUND)]:
            raise load.LoadError(f"it lists something else: {keys}")
    client.close()
    return times


def _scanned(port: int, entries: int) -> float:
    """How long redis takes to find ten keys by SCAN, in ms."""
    pattern = f"k{entries // FOUND // 2:014d}*"
    found, cursor = 0, b"0"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client, client.makefile("rb") as answers:
        begin = time.perf_counter()
        while True:
            client.sendall(b"SCAN %s MATCH %s COUNT 1000\r\n" % (cursor, pattern.encode()))
            answers.readline()
            answers.readline()
            cursor = answers.readline().strip()
            keys = int(answers.readline()[1:])
            for _ in range(2 * keys):
                answers.readline()
            found += keys
            if cursor == b"0":
                break
        took = (time.perf_counter() - begin) * 1000
    if found != FOUND:
        raise load.LoadError(f"redis finds {found} keys")
    return took
