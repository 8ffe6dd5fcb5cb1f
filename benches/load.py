"""Loads a contestant over pipelined connections, as fast as one process of Python can.

A batch goes out on each connection before the answers of any are read, so that client and server work at
the same time. A batch's answers fit the socket's buffers, so neither side can wait for the other.
"""

import random
import socket
from collections.abc import Callable, Iterator

CONNECTIONS = 4
BATCH = 400

# A batch of requests, for these numbers.
Make = Callable[[list[int]], bytes]


class LoadError(Exception):
    """A request that was answered with anything but success."""


class Protocol:
    """How a contestant is spoken to: its requests, and what a success starts with."""

    def __init__(self, make: Make, success: bytes) -> None:
        """`success` must stand once in every answer that is one, and in no other."""
        self.make = make
        self.success = success


def http(value_bytes: int) -> Protocol:
    """pykv: PUT with the value as the body."""
    request = (
        b"PUT /kv/k%015d?upsert=true HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Length: " + str(value_bytes).encode() + b"\r\n\r\n%0" + str(value_bytes).encode() + b"d"
    )
    return Protocol(lambda numbers: b"".join([request % (n, n) for n in numbers]), b"HTTP/1.1 20")


def resp(value_bytes: int) -> Protocol:
    """redis: SET."""
    size = str(value_bytes).encode()
    request = b"*3\r\n$3\r\nSET\r\n$16\r\nk%015d\r\n$" + size + b"\r\n%0" + size + b"d\r\n"
    return Protocol(lambda numbers: b"".join([request % (n, n) for n in numbers]), b"+OK")


def memcache(value_bytes: int) -> Protocol:
    """memcached: set."""
    size = str(value_bytes).encode()
    request = b"set k%015d 0 0 " + size + b"\r\n%0" + size + b"d\r\n"
    return Protocol(lambda numbers: b"".join([request % (n, n) for n in numbers]), b"STORED")


def in_order(count: int) -> Iterator[list[int]]:
    """0 to `count`, a batch at a time."""
    for start in range(0, count, BATCH):
        yield list(range(start, min(start + BATCH, count)))


def at_random(count: int, keys: int) -> Iterator[list[int]]:
    """`count` numbers below `keys`, a batch at a time; the same ones in every run."""
    source = random.Random(7)
    population = range(keys)
    for start in range(0, count, BATCH):
        yield source.choices(population, k=min(BATCH, count - start))


def _expect(client: socket.socket, success: bytes, count: int) -> None:
    tail = b""
    while count:
        chunk = client.recv(1 << 18)
        if not chunk:
            raise LoadError(f"the connection was closed: {tail!r}")
        seen = tail + chunk
        count -= seen.count(success)
        # What may be the start of another success, but never a whole one, which is counted.
        keep = len(success) - 1
        tail = seen[-keep:] if keep else b""


def load(
    port: int,
    protocol: Protocol,
    batches: Iterator[list[int]],
    progress: Callable[[int], None] | None = None,
) -> int:
    """Sends all batches and returns how many requests they held. `progress` is told after each turn."""
    sent = 0
    clients = []
    try:
        for _ in range(CONNECTIONS):
            client = socket.create_connection(("127.0.0.1", port), timeout=60)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            clients.append(client)
        more = True
        while more:
            turn = []
            for client in clients:
                numbers = next(batches, None)
                if numbers is None:
                    more = False
                    break
                client.sendall(protocol.make(numbers))
                turn.append((client, len(numbers)))
            for client, count in turn:
                try:
                    _expect(client, protocol.success, count)
                except TimeoutError as error:
                    raise LoadError(f"port {port}: not every request was answered with success") from error
                sent += count
            if progress is not None:
                progress(sent)
    finally:
        for client in clients:
            client.close()
    return sent
