"""What a compaction costs those who use the node meanwhile, beside redis's rewriting of its log."""

import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import load
import openloop
import peers
from report import Section, Target
from setup import CAPACITY, Setup

ENTRIES = 5_000_000
VALUE_BYTES = 100
BEFORE_SECONDS = 5.0

SECONDS_MAX = 6.0
P999_RATIO_MAX = 2.0
LONGEST_MS_MAX = 40.0
EXTRA_MB_MAX = 100.0

AOF = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")


def compact(setup: Setup) -> Iterator[Section]:
    """Fills a contestant, loads it with half GETs and half PUTs at a fixed rate, and has it rewrite its log."""
    entries = setup.count(ENTRIES)
    rate = openloop.CONNECTIONS * openloop.TURNS_PER_SECOND
    title = f"Compaction of {entries:,} entries of {VALUE_BYTES} bytes under {rate:,} requests a second"
    section = Section(title, "s; ms; MB")
    figures: dict[str, list[tuple[float, ...]]] = {"pykv": [], "redis": []}
    for _ in range(setup.rounds):
        with peers.directory() as place, peers.pykv(setup.binary, place / "data", *CAPACITY) as peer:
            load.load(peer.port, load.http(VALUE_BYTES), load.in_order(entries))
            figures["pykv"].append(_measured(peer, _http, (b"HTTP/1.1 20", b"HTTP/1.1 20"), entries, lambda: _pykv(peer.port)))
        with peers.directory() as place, peers.redis(place, *AOF) as peer:
            load.load(peer.port, load.resp(VALUE_BYTES), load.in_order(entries))
            figures["redis"].append(_measured(peer, _resp, (b"$100\r\n", b"+OK\r\n"), entries, lambda: _redis(peer.port)))
    names = ("takes, s", "p99.9 before, ms", "p99.9 during, ms", "longest during, ms", "extra memory, MB")
    medians = {}
    for name, rounds in figures.items():
        for at, what in enumerate(names):
            medians[name, what] = section.add(f"{name}: {what}", [values[at] for values in rounds])
    ours = {what: medians["pykv", what] for what in names}
    allowed = P999_RATIO_MAX * ours[names[1]]
    for what, bound in zip(names, (SECONDS_MAX, None, allowed, LONGEST_MS_MAX, EXTRA_MB_MAX), strict=True):
        if bound is not None:
            section.targets.append(Target(f"pykv: {what}", ours[what], bound, at_least=False))
    yield section


def _measured(
    peer: peers.Peer, make: openloop.Make, markers: tuple[bytes, bytes], keys: int, rewrite: Callable[[], None]
) -> tuple[float, ...]:
    """Seconds, p99.9 before and during, the longest during, and how much memory more there was at most."""
    loop = openloop.OpenLoop(peer.port, make, markers, keys)
    time.sleep(1)  # Connections and caches warm up.
    begin = time.monotonic()
    time.sleep(BEFORE_SECONDS)
    settled = _pss_bytes(peer)
    watcher = _Watcher(peer)
    start = time.monotonic()
    rewrite()
    end = time.monotonic()
    extra = watcher.end() - settled
    moments, latencies = loop.end()
    before = sorted(ms for at, ms in zip(moments, latencies, strict=True) if begin <= at < start)
    during = sorted(ms for at, ms in zip(moments, latencies, strict=True) if start <= at < end)
    if not before or not during:
        raise load.LoadError("nothing was answered while it was measured")
    return (end - start, _at(before, 0.999), _at(during, 0.999), during[-1], max(0, extra) / 1e6)


def _at(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


class _Watcher:
    """The most memory that a contestant and its children have, from when it is made until it is ended."""

    def __init__(self, peer: peers.Peer) -> None:
        self.peer = peer
        self.most = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self) -> None:
        while not self.over.wait(0.25):
            self.most = max(self.most, _pss_bytes(self.peer))

    def end(self) -> int:
        self.over.set()
        self.thread.join()
        return self.most


def _pss_bytes(peer: peers.Peer) -> int:
    """Memory of the process and its children; what they share counts once."""
    pid = peer.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    pids = [pid, *map(int, children.read_text().split())]
    total = 0
    for one in pids:
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # A child that has ended meanwhile.
        found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total


def _http(key: int, reads: bool) -> bytes:
    if reads:
        return b"GET /kv/k%015d HTTP/1.1\r\nHost: bench\r\nAccept: application/octet-stream\r\n\r\n" % key
    head = b"PUT /kv/k%015d?upsert=true HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
    return (head + b"Content-Length: 100\r\n\r\n%0100d") % (key, key)


def _resp(key: int, reads: bool) -> bytes:
    if reads:
        return b"*2\r\n$3\r\nGET\r\n$16\r\nk%015d\r\n" % key
    return b"*3\r\n$3\r\nSET\r\n$16\r\nk%015d\r\n$100\r\n%0100d\r\n" % (key, key)


def _pykv(port: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/compact?wait=true", method="POST")
    with urllib.request.urlopen(request, timeout=600) as answer:
        result = json.load(answer)
    if result.get("error"):
        raise load.LoadError(result["error"])


def _redis(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"BGREWRITEAOF\r\n")
        client.recv(4096)
        while True:
            client.sendall(b"INFO persistence\r\n")
            answer = b""
            while b"aof_rewrite_in_progress" not in answer or not answer.endswith(b"\r\n\r\n"):
                answer += client.recv(1 << 16)
                if answer.endswith(b"\r\n") and b"aof_rewrite_scheduled" in answer:
                    break
            if b"aof_rewrite_in_progress:0" in answer and b"aof_rewrite_scheduled:0" in answer:
                return
            time.sleep(0.02)
