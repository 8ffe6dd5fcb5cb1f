"""Whether a request ever waits for the store to grow."""

import contextlib
import multiprocessing
import os
import socket
import time
from array import array
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import load
import peers
from report import Section, Target
from setup import CAPACITY, Setup

ENTRIES = 10_000_000
VALUE_BYTES = 32
GROWTH_MS_MAX = 5.0


def growth(setup: Setup) -> Iterator[Section]:
    """Fills a node from empty while a probe reads one key, then sends the same again to the full node.

    Client, node and probe share the processors, so the probe also waits for those. What growth adds is
    the difference between the two: a pause of the store comes back in every round at the same size, the
    scheduler's do not. Hence of all rounds the median of each one's longest wait.
    """
    entries = setup.count(ENTRIES)
    section = Section(f"Growth to {entries:,} entries: the waits of a probe that reads meanwhile", "ms, longest")
    growing, full = [], []
    for _ in range(setup.rounds):
        with peers.directory() as place, peers.pykv(setup.binary, place / "data", *CAPACITY, "--fsync", "no") as peer:
            load.load(peer.port, load.http(VALUE_BYTES), iter([[0]]))
            growing.append(probed(peer, lambda port=peer.port: _fill(port, entries)))
            full.append(probed(peer, lambda port=peer.port: _fill(port, entries)))
    longest = {}
    for name, rounds in (("while it fills", growing), ("when it is full", full)):
        at_999 = sorted(waits[int(len(waits) * 0.999)] for waits in rounds)[len(rounds) // 2]
        longest[name] = section.add(name, [waits[-1] for waits in rounds], f"p99.9 {at_999:.2f} ms")
    more = max(0.0, longest["while it fills"] - longest["when it is full"])
    section.targets.append(Target("longest wait due to growth, ms", more, GROWTH_MS_MAX, at_least=False))
    yield section


def _fill(port: int, entries: int) -> None:
    load.load(port, load.http(VALUE_BYTES), load.in_order(entries))


def probed(peer: peers.Peer, work: Callable[[], None]) -> array:
    """The waits of a probe during some work, in ms, shortest first. It reads the first key of a load in order."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_probe, args=(peer.port, theirs), daemon=True)
    process.start()
    try:
        ours.recv()
        work()
        ours.send(None)
        return ours.recv()
    finally:
        process.join(10)
        process.kill()


def _probe(port: int, pipe: Connection) -> None:
    """Reads one key a thousand times a second until told to end, then sends back how long each took."""
    request = b"GET /kv/k%015d HTTP/1.1\r\nHost: bench\r\nAccept: application/octet-stream\r\n\r\n" % 0
    value = b"%032d" % 0
    waits = array("d")
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)  # The probe's own turn at the processor is not what is asked for.
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        pipe.send(None)
        while not pipe.poll():
            begin = time.perf_counter()
            client.sendall(request)
            answer = b""
            while not answer.endswith(value):
                chunk = client.recv(4096)
                if not chunk:
                    raise load.LoadError("the probe's connection was closed")
                answer += chunk
            waits.append((time.perf_counter() - begin) * 1000)
            time.sleep(0.001)
    pipe.send(array("d", sorted(waits)))
