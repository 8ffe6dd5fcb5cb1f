"""A gateway: beside webdis before the same redis, and two before one cluster beside one."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import load
import peers
import speed
import wrk
from report import Section, Target
from setup import Setup

CONNECTIONS = 64
MASTERS = 3
WEBDIS_RATIO_MIN = 0.9

# Of two gateways over one. A machine of few processors is busy with one already: then the two share it, and neither may be
# the slower for the other.
PROCESSORS_FREE = 6
SCALE_MIN_FREE = 1.5
SCALE_MIN_BUSY = 0.9
COST_RATIO_MAX = 1.1


def gateway(setup: Setup) -> Iterator[Section]:
    """GET and PUT through one gateway, and GET through two."""
    yield from _beside_webdis(setup)
    yield from _two(setup)


def _beside_webdis(setup: Setup) -> Iterator[Section]:
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(peers.directory())
        store = stack.enter_context(peers.redis(home, "--appendonly", "no", "--maxmemory", "8gb"))
        ours = stack.enter_context(peers.gateway(setup.binary, home, store.port))
        # The same redis, and another database of it: a gateway leaves values alone that are none of its own.
        theirs = stack.enter_context(peers.webdis_before(store, home, database=1))
        load.load(ours.port, load.http(speed.VALUE_BYTES), load.in_order(speed.KEYS_READ))
        load.load(theirs.port, _of_webdis(speed.VALUE_BYTES), load.in_order(speed.KEYS_READ))
        raw = (f"Accept: {speed.RAW}",)
        bytes_of = (f"Content-Type: {speed.RAW}",)
        for title, targets in (
            (
                f"GET through a gateway, {CONNECTIONS} connections",
                {
                    "pykv": wrk.Target(ours.port, "get", "/kv/", headers=raw),
                    "webdis": wrk.Target(theirs.port, "get", "/GET/", ".txt", raw),
                },
            ),
            (
                f"PUT of 100 bytes through a gateway, {CONNECTIONS} connections",
                {
                    "pykv": wrk.Target(ours.port, "put", "/kv/", "?upsert=true", bytes_of),
                    "webdis": wrk.Target(theirs.port, "put", "/SET/", headers=bytes_of),
                },
            ),
        ):
            section = Section(title, "requests/s")
            medians = speed.compare(setup, section, targets, CONNECTIONS, 1)
            section.ratio("pykv / webdis", medians["pykv"], medians["webdis"], WEBDIS_RATIO_MIN)
            yield section


def _of_webdis(value_bytes: int) -> load.Protocol:
    size = str(value_bytes).encode()
    request = b"PUT /SET/k%015d HTTP/1.1\r\nHost: bench\r\nContent-Length: " + size + b"\r\n\r\n%0" + size + b"d"
    return load.Protocol(lambda numbers: b"".join([request % (n, n) for n in numbers]), b"HTTP/1.1 200")


def _two(setup: Setup) -> Iterator[Section]:
    """The same connections on one gateway, and shared by two."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(peers.directory())
        cluster = stack.enter_context(peers.redis_cluster(home, MASTERS))
        ports = [node.port for node in cluster]
        both = [stack.enter_context(peers.gateway(setup.binary, home, *ports)) for _ in range(2)]
        load.load(both[0].port, load.http(speed.VALUE_BYTES), load.in_order(speed.KEYS_READ))
        rates: dict[str, list[float]] = {"one": [], "two": []}
        costs: dict[str, list[float]] = {"one": [], "two": []}
        for number in range(setup.rounds):
            for name, gateways in (("one", both[:1]), ("two", both)):
                rate, cost = _run(setup, gateways, number + 1)
                rates[name].append(rate)
                costs[name].append(cost)
    section = Section(f"GET through gateways to a cluster of {MASTERS}, {CONNECTIONS} connections in all", "requests/s")
    one, two = (section.add(f"pykv: {name}", values) for name, values in rates.items())
    is_free = (os.cpu_count() or 1) >= PROCESSORS_FREE
    section.ratio("two / one", two, one, SCALE_MIN_FREE if is_free else SCALE_MIN_BUSY)
    yield section
    section = Section("GET through gateways to a cluster: what a request takes of a processor in them", "us")
    one, two = (section.add(f"pykv: {name}", values) for name, values in costs.items())
    section.targets.append(Target("two / one", two / one, COST_RATIO_MAX, at_least=False))
    yield section


def _run(setup: Setup, gateways: list[peers.Peer], seed: int) -> tuple[float, float]:
    """Requests a second of all together, and microseconds of a processor that one took in the gateways."""
    before = sum(_cpu_seconds(peer.process.pid) for peer in gateways)
    each = CONNECTIONS // len(gateways)

    def one(number: int) -> wrk.Result:
        target = wrk.Target(gateways[number].port, "get", "/kv/", headers=(f"Accept: {speed.RAW}",))
        return wrk.run(target, connections=each, seconds=setup.seconds, seed=seed * 10 + number)

    with ThreadPoolExecutor(len(gateways)) as pool:
        rate = sum(result.per_second for result in pool.map(one, range(len(gateways))))
    used = sum(_cpu_seconds(peer.process.pid) for peer in gateways) - before
    return rate, used / (rate * setup.seconds) * 1e6


def _cpu_seconds(pid: int) -> float:
    """What a process has used of processors."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
