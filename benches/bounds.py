"""Resident memory against what the options allow: under clients that do not read, and under values of every size."""

import contextlib
import random
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import growth
import load
import peers
from report import Section, Target
from setup import Setup

MIB = 2**20
IN_FLIGHT = 32 * MIB
MEMORY = 64 * MIB
READERS = 200
# What a node may have resident beside its entries, what is in flight, and 10 KiB a connection.
BESIDE = 30 * MIB
CONNECTION = 10 * 1024

OPTIONS = (
    "--max-memory", "64MiB", "--max-in-flight", "32MiB", "--max-value", "8MiB", "--compact-ratio", "0",
    "--fsync", "no", "--answer-timeout", "60s",
)  # fmt: skip


def _request(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: bench", *headers]
    if body or method in ("PUT", "POST"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _gets(keys: int) -> bytes:
    operations = ",".join(f'{{"op":"get","key":"v{n}"}}' for n in range(keys))
    body = f'{{"operations":[{operations}]}}'.encode()
    return _request("POST", "/batch", "Content-Type: application/json", body=body)


# What is asked, and how the store is filled before: the size of its values, and their number.
ROUTES: dict[str, tuple[bytes, int, int]] = {
    "GET, JSON of 8 MiB of control bytes": (_request("GET", "/kv/v0"), 8 * MIB, 4),
    "GET, 8 MiB of bytes": (_request("GET", "/kv/v0?raw"), 8 * MIB, 4),
    "GET, JSON of 12 KiB of control bytes": (_request("GET", "/kv/v0") * 20, 12 * 1024, 1000),
    "list with values of 1 MiB": (_request("GET", "/kv/?values=true&limit=1000") * 2, MIB, 30),
    "list with values of 1 KiB": (_request("GET", "/kv/?values=true&limit=1000") * 3, 1024, 20_000),
    "list of keys": (_request("GET", "/kv/?limit=1000") * 400, 10, 20_000),
    "watch, poll": (_request("GET", "/watch?after=0&limit=1000") * 3, MIB, 30),
    "watch, events": (_request("GET", "/watch?after=0", "Accept: text/event-stream"), MIB, 30),
    "batch of 100 gets": (_gets(100), 64 * 1024, 200),
    "backup": (_request("GET", "/backup"), MIB, 30),
    "the page": (_request("GET", "/page/app.js") * 400, 10, 10),
    "the metrics": (_request("GET", "/metrics") * 400, 10, 10),
}


class _Watched:
    """The highest resident memory of a process while something is done."""

    def __init__(self, peer: peers.Peer) -> None:
        self.peer = peer
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, self.peer.rss_bytes())

    def __enter__(self) -> "_Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _connect(port: int, stack: contextlib.ExitStack) -> socket.socket:
    client = stack.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    return client


def _fill(port: int, value_bytes: int, count: int) -> int:
    """Stores values of control bytes; returns what they are counted with, about."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        for number in range(count):
            target = f"/kv/v{number}?upsert=true"
            client.sendall(_request("PUT", target, "Content-Type: application/octet-stream", body=b"\1" * value_bytes))
            if not client.recv(65536).startswith(b"HTTP/1.1 20"):
                raise load.LoadError("a value was not stored")
    return count * (value_bytes + 100)


def _ask(port: int, request: bytes, readers: int, seconds: float) -> None:
    """Asks on many connections, and reads a little of each answer now and then."""
    with contextlib.ExitStack() as stack:
        clients = [_connect(port, stack) for _ in range(readers)]
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(request)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in clients:
                with contextlib.suppress(OSError):
                    client.recv(64, socket.MSG_DONTWAIT)
            time.sleep(0.2)


def bounds(setup: Setup) -> Iterator[Section]:
    """Slow readers on each route, and then of all of them at once; values of many sizes; waits for another's work."""
    _raise_file_limit(4 * READERS)
    readers = max(20, int(READERS * setup.scale))
    seconds = 3 if setup.scale == 1 else 1.5
    section = Section(f"{readers} clients that hardly read, 32 MiB in flight", "MiB resident, at most")
    mix = list(ROUTES.items())
    for name, (request, value_bytes, count) in mix:
        with peers.directory() as place, peers.pykv(setup.binary, place / "data", *OPTIONS) as peer:
            entries = _fill(peer.port, value_bytes, count)
            peer.settled_rss_bytes()
            _measure(section, peer, name, entries, readers, lambda port=peer.port, request=request: _ask(port, request, readers, seconds))
    with peers.directory() as place, peers.pykv(setup.binary, place / "data", *OPTIONS) as peer:
        entries = _fill(peer.port, MIB, 30)
        peer.settled_rss_bytes()

        def ask_all(port: int = peer.port) -> None:
            share = max(1, 2 * readers // len(mix))
            threads = [threading.Thread(target=_ask, args=(port, request, share, seconds)) for _, (request, _, _) in mix]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        _measure(section, peer, "all of these at once, twice as many", entries, 2 * readers, ask_all)
    yield section
    yield _sizes(setup)
    yield _waits(setup)


def _measure(
    section: Section, peer: peers.Peer, name: str, entries: int, readers: int, work: Callable[[], None]
) -> None:
    bound = entries + IN_FLIGHT + readers * CONNECTION + BESIDE
    with _Watched(peer) as watched:
        work()
    after = _falls_to(peer, entries + BESIDE)
    print(f"  {name}: {watched.peak / MIB:,.0f} of {bound / MIB:,.0f} MiB, then {after / MIB:,.0f}", flush=True)
    section.add(name, [watched.peak / MIB], f"bound {bound / MIB:,.0f}  10 s later {after / MIB:,.0f}")
    section.targets.append(Target(name, watched.peak / MIB, bound / MIB, at_least=False))
    section.targets.append(Target(f"{name}, 10 s later", after / MIB, (entries + BESIDE) / MIB, at_least=False))


def _falls_to(peer: peers.Peer, rss_bytes: int) -> int:
    """Resident memory as soon as it is down to that, or after 10 seconds."""
    end = time.monotonic() + 10
    while peer.rss_bytes() > rss_bytes and time.monotonic() < end:
        time.sleep(0.1)
    return peer.rss_bytes()


# What is stored one after the other: how long a value is, drawn anew for each.
SIZES: list[tuple[str, Callable[[random.Random], int]]] = [
    ("72 bytes", lambda _: 72),
    ("1 KB", lambda _: 1000),
    ("1 KB to 1 MB, log-uniform", lambda source: int(10 ** source.uniform(3, 6))),
    ("0.8 to 1 MB", lambda source: source.randint(800_000, 1_000_000)),
    ("1 to 3 KB", lambda source: source.randint(1000, 3000)),
    ("100 bytes", lambda _: 100),
    ("1 KB to 1 MB again", lambda source: int(10 ** source.uniform(3, 6))),
]


def _sizes(setup: Setup) -> Section:
    """Values of many sizes in one node, each size until it has filled the bound twice."""
    section = Section("64 MiB of entries, values of many sizes in turn", "MiB resident")
    with peers.directory() as place, peers.pykv(setup.binary, place / "data", *OPTIONS) as peer:
        number = 0
        for name, size in SIZES:
            with _Watched(peer) as watched:
                number = _store(peer.port, number, size, int(2 * MEMORY * setup.scale))
            time.sleep(1)
            after = peer.rss_bytes()
            section.add(name, [after / MIB], f"{watched.peak / MIB:,.0f} at most")
            section.targets.append(Target(name, after / MEMORY, 1.5, at_least=False))
        with socket.create_connection(("127.0.0.1", peer.port), timeout=600) as client:
            client.sendall(_request("DELETE", "/kv/?prefix="))
            client.recv(65536)
        at_once = peer.rss_bytes()
        time.sleep(10)
        left = peer.rss_bytes()
        section.add("all deleted, 10 s later", [left / MIB], f"{at_once / MIB:,.0f} at once")
        section.targets.append(Target("all deleted, 10 s later, MiB", left / MIB, 30, at_least=False))
    return section


# The longest hold of the store's lock. The longest wait of all is the scheduler's as well, so it is no measure of it.
WAIT_MS_MAX = 2.0
SMALL = 1_000_000


def _waits(setup: Setup) -> Section:
    """A probe reads a small key while one other client has a million entries evicted, listed or deleted."""
    entries = setup.count(SMALL)
    section = Section(f"A probe reads beside another's work on {entries:,} entries", "ms, p99")
    # Small entries fill it, so that a value of 64 MiB takes the place of most of them.
    options = ("--max-memory", "128MiB", "--max-value", "64MiB", "--fsync", "no", "--compact-ratio", "0")
    works = {
        "nothing": lambda port: time.sleep(1),
        "a value of 64 MiB evicts": lambda port: _once(
            port, _request("PUT", "/kv/large?upsert=true", "Content-Type: application/octet-stream", body=bytes(64 * MIB))
        ),
        "all are listed": _list_all,
        "nine in ten are counted": lambda port: _prefixes(port, "&dry_run=true"),
        "nine in ten are deleted": lambda port: _prefixes(port, ""),
    }
    found = {name: [] for name in works}
    for _ in range(setup.rounds):
        for name, work in works.items():
            with peers.directory() as place, peers.pykv(setup.binary, place / "data", *options) as peer:
                load.load(peer.port, load.http(growth.VALUE_BYTES), load.in_order(entries))
                load.load(peer.port, load.http(growth.VALUE_BYTES), iter([[0]]))
                found[name].append(growth.probed(peer, lambda port=peer.port, work=work: work(port)))
    at_99 = {}
    for name, rounds in found.items():
        longest = sorted(waits[-1] for waits in rounds)[len(rounds) // 2]
        at_99[name] = section.add(
            name, [waits[int(len(waits) * 0.99)] for waits in rounds], f"longest {longest:.2f} ms, {len(rounds[0])} reads"
        )
    for name, wait in at_99.items():
        if name != "nothing":
            more = max(0.0, wait - at_99["nothing"])
            section.targets.append(Target(f"{name}: p99 more than beside nothing, ms", more, WAIT_MS_MAX, at_least=False))
    return section


def _once(port: int, request: bytes) -> bytes:
    """Sends one request and returns its answer, which must be a success."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost", 1))
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    if not answer.startswith(b"HTTP/1.1 2"):
        raise load.LoadError(f"it answered {answer[:80]!r}")
    return answer


def _prefixes(port: int, query: str) -> None:
    """Deletes by prefix all but the first tenth of a million keys, among them the one that the probe reads."""
    for digit in range(1, 10):
        _once(port, _request("DELETE", f"/kv/?prefix=k000000000{digit}{query}"))


def _list_all(port: int) -> None:
    cursor = ""
    while True:
        answer = _once(port, _request("GET", f"/kv/?limit=1000{cursor}"))
        found = re.search(rb'"cursor":"([^"]+)"', answer)
        if not found:
            return
        cursor = f"&cursor={found[1].decode()}"


def _store(port: int, number: int, size: Callable[[random.Random], int], total: int) -> int:
    """Stores `total` bytes from 4 writers; returns the number of the next key."""
    source = random.Random(number)
    lengths = []
    while total > 0:
        lengths.append(size(source))
        total -= lengths[-1] + 60

    def write(part: list[tuple[int, int]]) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            for start in range(0, len(part), 50):
                batch = part[start : start + 50]
                step = 1 if batch[0][1] > 10_000 else len(batch)
                for at in range(0, len(batch), step):
                    some = batch[at : at + step]
                    octets = "Content-Type: application/octet-stream"
                    client.sendall(
                        b"".join(_request("PUT", f"/kv/s{n}?upsert=true", octets, body=b"x" * length) for n, length in some)
                    )
                    load._expect(client, b"HTTP/1.1 201", len(some))

    numbered = list(enumerate(lengths, number))
    threads = [threading.Thread(target=write, args=(numbered[of::4],)) for of in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return number + len(lengths)


def _raise_file_limit(files: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


if __name__ == "__main__":
    import sys

    binary = Path(sys.argv[1]).resolve()
    scale = float(sys.argv[2]) if len(sys.argv) > 2 else 1
    rounds = 3 if sys.argv[3:] == ["waits"] else 1
    setup = Setup(binary, Path(), rounds, 1, scale, json=False)
    names = sys.argv[3:]
    if names == ["sizes"]:
        _sizes(setup).print()
    elif names == ["waits"]:
        _waits(setup).print()
    else:
        for one in list(ROUTES):
            if names and not any(name in one for name in names):
                del ROUTES[one]
        for found in bounds(setup):
            found.print()
