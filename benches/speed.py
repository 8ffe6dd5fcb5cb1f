"""GET and PUT, by wrk, beside webdis on redis, nginx, etcd's JSON gateway and FastAPI."""

import contextlib
import http.client
from collections.abc import Iterator

import load
import peers
import wrk
from report import Section
from setup import CAPACITY, Setup

KEYS_READ = 10_000
VALUE_BYTES = 32

RAW = "application/octet-stream"

# Headers of nginx's own; the others of pykv's answer are added to its own.
OF_NGINX = {"date", "server", "content-type", "content-length", "connection"}

# Connections, requests in one write, and the least ratio to each peer.
GETS = (
    ("GET, 64 connections", 64, 1, {"webdis": 1.05, "nginx": 0.68, "bare": 0.93, "fastapi": 10.0}),
    ("GET, 1 connection", 1, 1, {"nginx": 1.0}),
    ("GET, 256 connections", 256, 1, {"webdis": 0.9}),
    ("GET, 64 connections, pipelined 16 deep", 64, 16, {"nginx": 3.0}),
)

PUTS = (
    ("PUT of 100 bytes, everysec, 64 connections", "everysec", {"webdis everysec": 0.95}),
    ("PUT of 100 bytes, always, 64 connections", "always", {"webdis always": 1.15, "etcd": 3.0}),
)


def get(setup: Setup) -> Iterator[Section]:
    """GET of 32 bytes under one of 10,000 keys, chosen at random."""
    with contextlib.ExitStack() as stack:
        targets = _get_targets(setup, stack)
        for title, connections, depth, ratios in GETS:
            section = Section(title, "requests/s")
            medians = compare(setup, section, {name: targets[name] for name in ("pykv", *ratios)}, connections, depth)
            for name, bound in ratios.items():
                section.ratio(f"pykv / {name}", medians["pykv"], medians[name], bound)
            yield section


def put(setup: Setup) -> Iterator[Section]:
    """PUT of 100 bytes under one of a million keys, chosen at random."""
    for title, policy, ratios in PUTS:
        with contextlib.ExitStack() as stack:
            targets = _put_targets(setup, stack, policy)
            section = Section(title, "requests/s")
            medians = compare(setup, section, targets, 64, 1)
            for name, bound in ratios.items():
                section.ratio(f"pykv / {name}", medians[f"pykv {policy}"], medians[name], bound)
            yield section


def compare(
    setup: Setup, section: Section, targets: dict[str, wrk.Target], connections: int, depth: int
) -> dict[str, float]:
    """Runs all, one after the other, as often as there are rounds, and returns each one's median."""
    results: dict[str, list[wrk.Result]] = {name: [] for name in targets}
    for number in range(setup.rounds):
        for name, target in targets.items():
            result = wrk.run(target, connections=connections, seconds=setup.seconds, depth=depth, seed=number + 1)
            results[name].append(result)
    medians = {}
    for name, rounds in results.items():
        middle = sorted(rounds, key=lambda result: result.per_second)[len(rounds) // 2]
        note = f"p50 {middle.p50_ms:.2f} ms  p99 {middle.p99_ms:.2f} ms"
        medians[name] = section.add(name, [result.per_second for result in rounds], note)
    return medians


def _get_targets(setup: Setup, stack: contextlib.ExitStack) -> dict[str, wrk.Target]:
    headers = () if setup.json else (f"Accept: {RAW}",)

    def place() -> peers.Path:
        return stack.enter_context(peers.directory())

    ours = stack.enter_context(peers.pykv(setup.binary, place() / "data", *CAPACITY))
    gateway = stack.enter_context(peers.webdis(place(), "--appendonly", "no"))
    baseline = stack.enter_context(peers.fastapi(place(), peers.virtual_environment(setup.environment)))
    assert gateway.store is not None
    for port, protocol in (
        (ours.port, load.http(VALUE_BYTES)),
        (gateway.store.port, load.resp(VALUE_BYTES)),
        (baseline.port, load.http(VALUE_BYTES)),
    ):
        load.load(port, protocol, load.in_order(KEYS_READ))

    targets = {
        "pykv": wrk.Target(ours.port, "get", "/kv/", headers=headers),
        # `.txt` is webdis's way to the bytes alone.
        "webdis": wrk.Target(gateway.port, "get", "/GET/", "" if setup.json else ".txt", headers),
        "fastapi": wrk.Target(baseline.port, "get", "/kv/", headers=headers),
    }
    for target in targets.values():
        _read(target, KEYS_READ - 1)  # A key that is not there may be a success too, and a fast one.

    answer = as_answered(ours.port, headers)
    static = stack.enter_context(peers.nginx(place(), *answer))
    targets["nginx"] = wrk.Target(static.port, "get", "/kv/", headers=headers)
    plain = stack.enter_context(peers.bare(setup.bare, place(), *answer))
    targets["bare"] = wrk.Target(plain.port, "get", "/kv/", headers=headers)
    return targets


def as_answered(port: int, headers: tuple[str, ...] = (f"Accept: {RAW}",)) -> tuple[str, str, dict[str, str]]:
    """Body, type and other headers of an answer of pykv: what nginx is to answer."""
    body, answered = _read(wrk.Target(port, "get", "/kv/", headers=headers), KEYS_READ - 1)
    added = {name: value for name, value in answered.items() if name.lower() not in OF_NGINX}
    return body, answered.get("Content-Type", RAW), added


def _read(target: wrk.Target, number: int) -> tuple[str, http.client.HTTPMessage]:
    """Body and headers of one answer to what wrk will ask."""
    client = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
    path = f"{target.before}k{number:015d}{target.after}"
    client.request("GET", path, headers=dict(header.split(": ", 1) for header in target.headers))
    answer = client.getresponse()
    body = answer.read().decode()
    client.close()
    if answer.status != 200 or f"{number:0{VALUE_BYTES}d}" not in body:
        raise wrk.WrkError(f"GET {path} was answered {answer.status}: {body}")
    return body, answer.headers


def _put_targets(setup: Setup, stack: contextlib.ExitStack, policy: str) -> dict[str, wrk.Target]:
    headers = (f"Content-Type: {RAW}",)

    def place() -> peers.Path:
        return stack.enter_context(peers.directory())

    ours = stack.enter_context(peers.pykv(setup.binary, place() / "data", "--fsync", policy, *CAPACITY))
    # LRU on both sides. Rewriting is off: it would fall into some rounds and not into others.
    gateway = stack.enter_context(
        peers.webdis(
            place(),
            *("--appendonly", "yes", "--appendfsync", policy, "--auto-aof-rewrite-percentage", "0"),
            *("--maxmemory", "8gb", "--maxmemory-policy", "allkeys-lru"),
        )
    )
    targets = {
        f"pykv {policy}": wrk.Target(ours.port, "put", "/kv/", "?upsert=true", headers),
        f"webdis {policy}": wrk.Target(gateway.port, "put", "/SET/", headers=headers),
    }
    if policy == "always":
        member = stack.enter_context(peers.etcd(place()))
        json = ("Content-Type: application/json",)
        targets["etcd"] = wrk.Target(member.port, "put_base64", "/v3/kv/put", headers=json)
    return targets
