"""What idle keep-alive connections cost: memory, and time on others."""

import contextlib
import resource
import socket
from collections.abc import Iterator

import load
import peers
import wrk
from report import Section, Target
from setup import CAPACITY, Setup

IDLE = 5_000
RSS_BYTES_MAX = 150e6
# Rounds of the same thing differ by as much.
RATIO_MIN = 0.9


def connections(setup: Setup) -> Iterator[Section]:
    """GETs on 64 connections, with none and with 5,000 more that are open and silent, in turns."""
    raise_file_limit(IDLE + 1_000)
    limit = ("--max-connections", str(IDLE + 1_000))
    alone, beside, memory = [], [], []
    with peers.directory() as place, peers.pykv(setup.binary, place / "data", *CAPACITY, *limit) as peer:
        load.load(peer.port, load.http(32), load.in_order(10_000))
        target = wrk.Target(peer.port, "get", "/kv/", headers=("Accept: application/octet-stream",))
        for number in range(setup.rounds):
            alone.append(wrk.run(target, connections=64, seconds=setup.seconds, seed=number + 1))
            with contextlib.ExitStack() as stack:
                clients = [_connect(peer.port, stack) for _ in range(IDLE)]
                memory.append(peer.settled_rss_bytes() / 1e6)
                beside.append(wrk.run(target, connections=64, seconds=setup.seconds, seed=number + 1))
                memory.append(peer.rss_bytes() / 1e6)
                for client in clients:
                    ask(client)  # That they are served still, not merely open.
    section = Section(f"{IDLE:,} idle keep-alive connections", "requests/s; MB")
    rates = {}
    for name, results in (("GET, none idle", alone), (f"GET beside {IDLE:,} idle", beside)):
        middle = sorted(results, key=lambda result: result.p99_ms)[len(results) // 2]
        note = f"p50 {middle.p50_ms:.2f} ms  p99 {middle.p99_ms:.2f} ms"
        rates[name] = section.add(name, [result.per_second for result in results], note)
    section.add("resident memory", memory)
    section.targets.append(Target("resident memory, MB", max(memory), RSS_BYTES_MAX / 1e6, at_least=False))
    before, after = rates.values()
    section.ratio("GET beside idle ones / with none", after, before, RATIO_MIN)
    yield section


def _connect(port: int, stack: contextlib.ExitStack) -> socket.socket:
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
    ask(client)
    return client


def ask(client: socket.socket) -> None:
    """Reads a key, and sees that its value comes."""
    client.sendall(b"GET /kv/k000000000000001 HTTP/1.1\r\nHost: bench\r\nAccept: application/octet-stream\r\n\r\n")
    answer = b""
    while not answer.endswith(b"%032d" % 1):
        chunk = client.recv(4096)
        if not chunk:
            raise load.LoadError(f"an idle connection was closed: {answer!r}")
        answer += chunk
    if not answer.startswith(b"HTTP/1.1 200"):
        raise load.LoadError(f"an idle connection was answered {answer!r}")


def raise_file_limit(files: int) -> None:
    """Lets this process have as many files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        if hard != resource.RLIM_INFINITY and hard < files:
            raise peers.PeerError(f"ulimit -n is {hard} at most; {files} files are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
