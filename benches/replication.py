"""What a second node costs the first, and how far it is behind, beside redis and a replica of its own."""

import contextlib
import json
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import load
import openloop
import peers
import wrk
from report import Section, Target
from setup import CAPACITY, Setup

KEYS = 1_000_000
BEHIND = 5_000_000
VALUE_BYTES = 100
WRITES_SEEN = 2000

SEEN_P50_MS_MAX = 0.3
SEEN_P99_MS_MAX = 1.0
COPY_SECONDS_MAX = 2.0
RECORDS_PER_SECOND_MIN = 1_000_000
PUT_RATIO_MIN = 0.9

# The log stays for a replica that is behind, and the same in redis; nobody is cut off for being slow.
PYKV = (*CAPACITY, "--log-backlog", "8GiB")
REDIS = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
REDIS += ("--repl-diskless-sync-delay", "0", "--repl-backlog-size", "2gb", "--client-output-buffer-limit", "replica 0 0 0")

DEADLINE_SECONDS = 300.0


@dataclass(frozen=True)
class Pair:
    """A contestant with a replica, and how it is spoken to."""

    primary: peers.Peer
    replica: peers.Peer
    protocol: load.Protocol
    write: Callable[[int], bytes]
    written: bytes
    # A write with a number in it, what its answer starts with, and a read that waits until it is seen.
    write_to_see: Callable[[int], bytes]
    seeable: bytes
    read_when_seen: Callable[[bytes, int], bytes]
    seen: bytes
    is_even: Callable[[], bool]

    def become_even(self) -> None:
        """Waits until the replica has what the primary has."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.is_even():
            if time.monotonic() > deadline:
                raise load.LoadError("the replica does not catch up")
            time.sleep(0.005)


def replication(setup: Setup) -> Iterator[Section]:
    """All that is measured of a second node."""
    yield from _seen(setup)
    yield _copy(setup)
    yield _behind(setup)
    yield _put(setup)


def _seen(setup: Setup) -> Iterator[Section]:
    for title, is_loaded in (("alone", False), ("beside 20,000 PUTs a second", True)):
        section = Section(f"A write of the primary seen on the replica, {title}", "ms")
        figures: dict[str, list[tuple[float, ...]]] = {name: [] for name in PAIRS}
        for _ in range(setup.rounds):
            for name, make in PAIRS.items():
                with contextlib.ExitStack() as stack:
                    pair = make(setup, stack, 10_000)
                    pair.become_even()
                    figures[name].append(_seen_of(pair, is_loaded))
        for name, rounds in figures.items():
            for at, what in enumerate(("p50", "p99", "a read's own p50")):
                middle = section.add(f"{name}: {what}", [values[at] for values in rounds])
                bound = {"p50": SEEN_P50_MS_MAX, "p99": SEEN_P99_MS_MAX}.get(what)
                if name == "pykv" and bound is not None:
                    section.targets.append(Target(f"pykv: {what}", middle, bound, at_least=False))
        yield section


def _seen_of(pair: Pair, is_loaded: bool) -> tuple[float, ...]:
    """p50 and p99 of the time until a write is seen, and p50 of a read, in ms."""
    loop = None
    if is_loaded:
        marker = pair.written
        loop = openloop.OpenLoop(pair.primary.port, lambda key, _: pair.write(key), (marker, marker), KEYS)
        time.sleep(1)
    seen, reads = [], []
    try:
        with _connected(pair.primary.port) as writer, _connected(pair.replica.port) as reader:
            for number in range(WRITES_SEEN):
                answer = _ask(writer, pair.write_to_see(number), pair.seeable)
                begin = time.perf_counter()
                shown = _ask(reader, pair.read_when_seen(answer, number), pair.seen)
                seen.append((time.perf_counter() - begin) * 1000)
                if b"%0100d" % number not in shown:
                    raise load.LoadError(f"the replica shows something else: {shown!r}")
                if number % 4 == 0:
                    begin = time.perf_counter()
                    _ask(reader, pair.read_when_seen(answer, number), pair.seen)
                    reads.append((time.perf_counter() - begin) * 1000)
    finally:
        if loop is not None:
            loop.end()
    seen.sort()
    reads.sort()
    return (seen[len(seen) // 2], seen[len(seen) * 99 // 100], reads[len(reads) // 2])


def _copy(setup: Setup) -> Section:
    keys = setup.count(KEYS)
    section = Section(f"{keys:,} keys of {VALUE_BYTES} bytes copied to an empty replica", "s")
    figures: dict[str, list[float]] = {name: [] for name in PAIRS}
    for _ in range(setup.rounds):
        for name, make in PAIRS.items():
            with contextlib.ExitStack() as stack:
                begun = []
                pair = make(setup, stack, keys, lambda: begun.append(time.monotonic()))
                pair.become_even()
                figures[name].append(time.monotonic() - begun[0])
    medians = {name: section.add(name, rounds) for name, rounds in figures.items()}
    section.targets.append(Target("pykv", medians["pykv"], COPY_SECONDS_MAX * max(setup.scale, 0.5), at_least=False))
    return section


def _behind(setup: Setup) -> Section:
    writes = setup.count(BEHIND)
    section = Section(f"A replica that is {writes:,} records behind", "records/s")
    figures: dict[str, list[float]] = {name: [] for name in PAIRS}
    for _ in range(setup.rounds):
        for name, make in PAIRS.items():
            with contextlib.ExitStack() as stack:
                pair = make(setup, stack, 10_000)
                pair.become_even()
                pair.replica.process.send_signal(signal.SIGSTOP)
                try:
                    load.load(pair.primary.port, pair.protocol, load.at_random(writes, KEYS))
                finally:
                    begin = time.monotonic()
                    pair.replica.process.send_signal(signal.SIGCONT)
                pair.become_even()
                figures[name].append(writes / (time.monotonic() - begin))
    medians = {name: section.add(name, rounds) for name, rounds in figures.items()}
    section.targets.append(Target("pykv", medians["pykv"], RECORDS_PER_SECOND_MIN))
    return section


def _put(setup: Setup) -> Section:
    section = Section(f"PUT of {VALUE_BYTES} bytes, 64 connections, everysec", "requests/s")
    figures: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(peers.pykv(setup.binary, _place(stack) / "data", *PYKV))
        pair = _pykv(setup, stack, 0)
        pair.become_even()
        targets = {"pykv alone": _put_pykv(alone.port), "pykv with a replica": _put_pykv(pair.primary.port)}
        redis_alone = stack.enter_context(peers.webdis(_place(stack), *REDIS))
        redis_both = stack.enter_context(peers.webdis(_place(stack), *REDIS))
        assert redis_both.store is not None
        _redis_replica(stack, redis_both.store)
        targets |= {"webdis alone": _put_webdis(redis_alone.port), "webdis with a replica": _put_webdis(redis_both.port)}
        for number in range(max(setup.rounds, 3)):
            for name, target in targets.items():
                result = wrk.run(target, connections=64, seconds=setup.seconds, seed=number + 1)
                figures.setdefault(name, []).append(result.per_second)
                pair.become_even()
    for name in targets:
        section.add(name, figures[name])
    for name in ("webdis", "pykv"):
        # Of neighbours in time: the machine is not the same from one minute to the next.
        pairs = zip(figures[f"{name} with a replica"], figures[f"{name} alone"], strict=True)
        ratio = section.add(f"{name}: with over alone", [both / one for both, one in pairs])
    section.targets.append(Target("pykv: with a replica / alone", ratio, PUT_RATIO_MIN))
    return section


def _put_pykv(port: int) -> wrk.Target:
    return wrk.Target(port, "put", "/kv/", "?upsert=true", ("Content-Type: application/octet-stream",))


def _put_webdis(port: int) -> wrk.Target:
    return wrk.Target(port, "put", "/SET/", "")


def _place(stack: contextlib.ExitStack) -> peers.Path:
    return stack.enter_context(peers.directory())


def _pykv(setup: Setup, stack: contextlib.ExitStack, keys: int, begin: Callable[[], None] = lambda: None) -> Pair:
    primary = stack.enter_context(peers.pykv(setup.binary, _place(stack) / "data", *PYKV))
    protocol = load.http(VALUE_BYTES)
    load.load(primary.port, protocol, load.in_order(keys))
    begin()
    replica = stack.enter_context(
        peers.pykv(setup.binary, _place(stack) / "data", *PYKV, follows=primary.port)
    )
    head = b"PUT /kv/k%015d?upsert=true HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"

    def is_even() -> bool:
        there = _status(replica.port)
        here = _status(primary.port)
        return there["replication"]["state"] == "streaming" and there["log"]["offset"] == here["log"]["offset"]

    return Pair(
        primary,
        replica,
        protocol,
        write=lambda key: (head + b"Content-Length: 100\r\n\r\n%0100d") % (key, key),
        written=b"HTTP/1.1 20",
        write_to_see=lambda number: (head + b"Content-Length: 100\r\n\r\n%0100d") % (KEYS, number),
        seeable=b"HTTP/1.1 20",
        read_when_seen=lambda answer, _: (
            b"GET /kv/k%015d?raw HTTP/1.1\r\nHost: bench\r\nPykv-Min-Offset: %s\r\n\r\n"
            % (KEYS, answer.partition(b"Pykv-Offset: ")[2].partition(b"\r\n")[0])
        ),
        seen=b"HTTP/1.1 200",
        is_even=is_even,
    )


def _redis(setup: Setup, stack: contextlib.ExitStack, keys: int, begin: Callable[[], None] = lambda: None) -> Pair:
    primary = stack.enter_context(peers.redis(_place(stack), *REDIS))
    protocol = load.resp(VALUE_BYTES)
    load.load(primary.port, protocol, load.in_order(keys))
    begin()
    replica = _redis_replica(stack, primary)

    def is_even() -> bool:
        there, here = _info(replica.port), _info(primary.port)
        return there.get("master_link_status") == "up" and there["master_repl_offset"] == here["master_repl_offset"]

    return Pair(
        primary,
        replica,
        protocol,
        write=lambda key: b"*3\r\n$3\r\nSET\r\n$16\r\nk%015d\r\n$100\r\n%0100d\r\n" % (key, key),
        written=b"+OK\r\n",
        write_to_see=lambda number: b"XADD s %d-1 v %0100d\r\n" % (number + 1, number),
        seeable=b"$",
        read_when_seen=lambda _, number: b"XREAD COUNT 1 BLOCK 60000 STREAMS s %d-1\r\n" % number,
        seen=b"*1",
        is_even=is_even,
    )


PAIRS = {"pykv": _pykv, "redis": _redis}


def _redis_replica(stack: contextlib.ExitStack, primary: peers.Peer) -> peers.Peer:
    follow = ("--replicaof", f"127.0.0.1 {primary.port}")
    return stack.enter_context(peers.redis(_place(stack), *REDIS, *follow))


def _status(port: int) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=60) as answer:
        return json.load(answer)


def _info(port: int) -> dict[str, str]:
    with _connected(port) as client:
        client.sendall(b"INFO replication\r\n")
        answer = b""
        while b"repl_backlog_histlen" not in answer or not answer.endswith(b"\r\n"):
            chunk = client.recv(1 << 16)
            if not chunk or answer.startswith(b"-"):
                return {"master_repl_offset": ""}  # It loads what it has got.
            answer += chunk
    pairs = (line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)
    return dict(pairs)


def _connected(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _ask(client: socket.socket, request: bytes, success: bytes) -> bytes:
    """The answer to a request, which comes in one piece: it is small."""
    client.sendall(request)
    answer = client.recv(1 << 16)
    if not answer.startswith(success):
        raise load.LoadError(f"it was refused: {answer[:200]!r}")
    return answer
