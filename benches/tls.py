"""What TLS costs: requests, handshakes and idle connections, beside nginx with the same certificate."""

import contextlib
import re
import ssl
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import connections
import load
import peers
import wrk
from report import Section, Target
from setup import CAPACITY, Setup

KEYS = 10_000
IDLE = 5_000
RSS_BYTES_MAX = 250e6
RATIO_MIN = 0.6
# Of handshakes, each in a process of its own.
CLIENTS = 4
HEADERS = ("Accept: application/octet-stream",)
# Versions, and what openssl calls them.
VERSIONS = (("TLS 1.3", "-tls1_3"), ("TLS 1.2", "-tls1_2"))
CONNECTIONS = re.compile(r"(\d+) connections in (\d+) real seconds")


def tls(setup: Setup) -> Iterator[Section]:
    """GET, new connections, and memory of those that are idle."""
    connections.raise_file_limit(IDLE + 1_000)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(peers.directory())
        certificate, key = _certificate(place)
        with peers.pykv(setup.binary, place / "data", *CAPACITY) as plain:
            load.load(plain.port, load.http(32), load.in_order(KEYS))
        limit = ("--max-connections", str(IDLE + 1_000))
        options = ("--tls-cert", str(certificate), "--tls-key", str(key), *CAPACITY, *limit)
        ours = stack.enter_context(peers.pykv(setup.binary, place / "data", *options))
        body = f"{1:032d}"
        fields = {"ETag": '"123456789"', "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        fields["Cross-Origin-Resource-Policy"] = "same-origin"
        where = stack.enter_context(peers.directory())
        theirs = stack.enter_context(
            peers.nginx(where, body, "application/octet-stream", fields, tls=(certificate, key))
        )
        both = {"pykv": ours, "nginx": theirs}
        yield _get(setup, both)
        for version, flag in VERSIONS:
            yield _handshakes(setup, both, version, flag)
        yield _idle(setup, ours)


def _get(setup: Setup, both: dict[str, peers.Peer]) -> Section:
    section = Section("GET over TLS, 64 connections", "requests/s")
    results: dict[str, list[wrk.Result]] = {name: [] for name in both}
    for number in range(setup.rounds):
        for name, peer in both.items():
            target = wrk.Target(peer.port, "get", "/kv/", headers=HEADERS, scheme="https")
            results[name].append(wrk.run(target, connections=64, seconds=setup.seconds, seed=number + 1))
    medians = {}
    for name, rounds in results.items():
        middle = sorted(rounds, key=lambda result: result.per_second)[len(rounds) // 2]
        note = f"p50 {middle.p50_ms:.2f} ms  p99 {middle.p99_ms:.2f} ms"
        medians[name] = section.add(name, [result.per_second for result in rounds], note)
    section.ratio("pykv / nginx", medians["pykv"], medians["nginx"], RATIO_MIN)
    return section


def _handshakes(setup: Setup, both: dict[str, peers.Peer], version: str, flag: str) -> Section:
    """Connections without a session of before, each closed after its handshake."""
    section = Section(f"New connections, {version}, {CLIENTS} clients", "handshakes/s")
    rates: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(setup.rounds):
        for name, peer in both.items():
            rates[name].append(_rate(peer.port, flag, setup.seconds))
    medians = {name: section.add(name, values) for name, values in rates.items()}
    section.ratio("pykv / nginx", medians["pykv"], medians["nginx"], RATIO_MIN)
    return section


def _rate(port: int, flag: str, seconds: float) -> float:
    """Handshakes a second of all clients together. Their own work, which is the same for each, is in it."""
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", flag, "-time", f"{max(1, round(seconds))}"]
    begun = time.monotonic()
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(CLIENTS)]
    total = 0
    for client in clients:
        said, _ = client.communicate(timeout=120)
        counted = CONNECTIONS.search(said)
        if counted is None:
            raise wrk.WrkError(f"openssl s_time: {said}")
        total += int(counted.group(1))
    return total / (time.monotonic() - begun)


def _idle(setup: Setup, peer: peers.Peer) -> Section:
    memory = []
    before = peer.settled_rss_bytes() / 1e6
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for _ in range(min(setup.rounds, 2)):
        with contextlib.ExitStack() as stack:
            clients = []
            for _ in range(IDLE):
                client = socket.create_connection(("127.0.0.1", peer.port), timeout=30)
                client = stack.enter_context(context.wrap_socket(client))
                connections.ask(client)
                clients.append(client)
            memory.append(peer.settled_rss_bytes() / 1e6)
            for client in clients:
                connections.ask(client)  # That they are served still, not merely open.
    section = Section(f"{IDLE:,} idle connections over TLS", "MB")
    section.add("resident memory with none", [before])
    section.add("resident memory", memory)
    section.targets.append(Target("resident memory, MB", max(memory), RSS_BYTES_MAX / 1e6, at_least=False))
    return section


def _certificate(place: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, by ECDSA on P-256."""
    certificate, key = place / "certificate.pem", place / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "30", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
