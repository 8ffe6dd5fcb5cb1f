"""Latency at a fixed rate, by `rate.rs`, beside webdis on redis, nginx and etcd's JSON gateway."""

import base64
import contextlib
import json
import math
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import load
import peers
import speed
from report import Section, Target
from setup import CAPACITY, Setup

RATES = (5_000, 20_000, 40_000)
CONNECTIONS = (64, 256)
# At these rates pykv is to be no worse than any other.
RATES_HELD = (5_000, 20_000)

KEYS = 10_000
READ_BYTES = 32
WRITE_BYTES = 100

# Percent of reads; the others are PUTs of 100 bytes.
KINDS = {"GET": 100, "PUT, everysec": 0, "90 % GET, 10 % PUT": 90}

# One that does not keep up is not waited for: it is charged with an endless wait.
SECONDS_MAX = 40


@dataclass(frozen=True)
class Contestant:
    """Where requests go, and the files that hold them."""

    port: int
    reads: Path
    writes: Path


def rate(setup: Setup) -> Iterator[Section]:
    """Every kind of load, at every rate, from few connections and from many."""
    with contextlib.ExitStack() as stack:
        contestants = _contestants(setup, stack)
        for kind, read_percent in KINDS.items():
            for connections in CONNECTIONS:
                for per_second in RATES:
                    yield _measured(setup, contestants, kind, read_percent, connections, per_second)


def _measured(
    setup: Setup, contestants: dict[str, Contestant], kind: str, read_percent: int, connections: int, per_second: int
) -> Section:
    section = Section(f"{kind}: {per_second:,} requests a second, {connections} connections", "ms, p99.9")
    # nginx answers and stores nothing: it is no contestant where there are writes.
    names = [name for name in contestants if name != "nginx" or read_percent == 100]
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(setup.rounds):
        for name in names:
            # Who cannot keep up once is not asked again.
            if any(math.isinf(round["p99_ms"]) for round in figures[name]):
                continue
            figures[name].append(run(setup, contestants[name], connections, per_second, read_percent, number + 1))
    at = {}
    for name, rounds in figures.items():
        p50, p99 = (median(round[what] for round in rounds) for what in ("p50_ms", "p99_ms"))
        p999 = section.add(name, [round["p999_ms"] for round in rounds], f"p50 {p50:.2f}  p99 {p99:.2f}")
        at[name] = (p99, p999)
    if per_second in RATES_HELD:
        for place, what in enumerate(("p99", "p99.9")):
            others = [figures[place] for name, figures in at.items() if name != "pykv"]
            section.targets.append(Target(f"pykv: {what}, ms", at["pykv"][place], min(others), at_least=False))
    return section


def run(
    setup: Setup, contestant: Contestant, connections: int, per_second: int, read_percent: int, seed: int
) -> dict[str, float]:
    """One load, and its latencies in ms."""
    command = [str(setup.load_at_rate), str(contestant.port), str(connections), str(per_second), str(setup.seconds)]
    command += [str(seed), str(read_percent), str(contestant.reads), str(contestant.writes)]
    # The load's own turn at the processor is not what is asked for.
    nice = ["nice", "-n", "-10"] if os.geteuid() == 0 else []
    try:
        done = subprocess.run([*nice, *command], capture_output=True, text=True, check=False, timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or "never answered" in done.stderr:
        return dict.fromkeys(("p50_ms", "p99_ms", "p999_ms", "max_ms"), math.inf)
    if done.returncode != 0:
        raise load.LoadError(f"port {contestant.port}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def _contestants(setup: Setup, stack: contextlib.ExitStack) -> dict[str, Contestant]:
    def place() -> Path:
        return stack.enter_context(peers.directory())

    requests = place()
    accept, content = f"Accept: {speed.RAW}\r\n".encode(), f"Content-Type: {speed.RAW}\r\n".encode()
    aof = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
    ours = stack.enter_context(peers.pykv(setup.binary, place() / "data", *CAPACITY))
    gateway = stack.enter_context(peers.webdis(place(), *aof))
    member = stack.enter_context(peers.etcd(place()))
    assert gateway.store is not None
    load.load(ours.port, load.http(READ_BYTES), load.in_order(KEYS))
    load.load(gateway.store.port, load.resp(READ_BYTES), load.in_order(KEYS))
    load.load(member.port, _etcd_load(), load.in_order(KEYS))
    static = stack.enter_context(peers.nginx(place(), *speed.as_answered(ours.port)))

    def files(name: str, reads: Iterator[bytes], writes: Iterator[bytes]) -> tuple[Path, Path]:
        paths = requests / f"{name}.reads", requests / f"{name}.writes"
        for path, all_requests in zip(paths, (reads, writes), strict=True):
            path.write_bytes(b"\0".join(all_requests))
        return paths

    def gets(before: bytes, after: bytes) -> Iterator[bytes]:
        for key in range(KEYS):
            yield b"GET %sk%015d%s HTTP/1.1\r\nHost: bench\r\n%s\r\n" % (before, key, after, accept)

    def puts(before: bytes, after: bytes) -> Iterator[bytes]:
        # Keys of their own: what is read keeps its size.
        head = b"PUT %sw%015d%s HTTP/1.1\r\nHost: bench\r\n%sContent-Length: 100\r\n\r\n%0100d"
        for key in range(KEYS):
            yield head % (before, key, after, content, key)

    return {
        "pykv": Contestant(ours.port, *files("pykv", gets(b"/kv/", b""), puts(b"/kv/", b"?upsert=true"))),
        "webdis": Contestant(gateway.port, *files("webdis", gets(b"/GET/", b".txt"), puts(b"/SET/", b""))),
        "nginx": Contestant(static.port, *files("nginx", gets(b"/kv/", b""), puts(b"/kv/", b""))),
        "etcd": Contestant(
            member.port,
            *files("etcd", (_etcd("range", key, None) for key in range(KEYS)), (_etcd("put", key, 100) for key in range(KEYS))),
        ),
    }


def _etcd(call: str, key: int, value_bytes: int | None) -> bytes:
    """A call of the JSON gateway, which takes keys and values as base64."""
    fields = {"key": base64.b64encode(b"%s%015d" % (b"k" if value_bytes != WRITE_BYTES else b"w", key)).decode()}
    if value_bytes is not None:
        fields["value"] = base64.b64encode(b"%0*d" % (value_bytes, key)).decode()
    body = json.dumps(fields).encode()
    head = b"POST /v3/kv/%s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (call.encode(), len(body)) + body


def _etcd_load() -> load.Protocol:
    return load.Protocol(lambda keys: b"".join(_etcd("put", key, READ_BYTES) for key in keys), b"HTTP/1.1 200")
