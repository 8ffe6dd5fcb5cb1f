"""A load that does not wait for answers: so many requests a second, whatever became of those before.

Latency counts from the moment at which a request should have been sent. So a contestant that stops for a
while is charged with all the requests that fell into that while, as its users would be.
"""

import gc
import multiprocessing
import os
import random
import selectors
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

CONNECTIONS = 20
TURNS_PER_SECOND = 1000  # Each connection sends one request a turn.

# The request for a key, reading or writing, and what is counted as its answer.
Make = Callable[[int, bool], bytes]


class OpenLoop:
    """A process that loads a port from when it is made until it is ended."""

    def __init__(self, port: int, make: Make, markers: tuple[bytes, bytes], keys: int) -> None:
        """`markers` stand exactly once in every success of a read and of a write."""
        self.ours, theirs = multiprocessing.Pipe()
        arguments = (port, make, markers, keys, theirs)
        self.process = multiprocessing.Process(target=_run, args=arguments, daemon=True)
        self.process.start()
        self.ours.recv()

    def end(self) -> tuple[array, array]:
        """Ends it; the moments at which requests should have been sent (time.monotonic), and their latencies in ms."""
        self.ours.send(None)
        try:
            return self.ours.recv()
        finally:
            self.process.join(10)
            self.process.kill()


def _run(port: int, make: Make, markers: tuple[bytes, bytes], keys: int, pipe: Connection) -> None:
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)  # The load's own turn at the processor is not what is asked for.
    gc.disable()
    source = random.Random(11)
    moments, latencies = array("d"), array("d")
    selector = selectors.DefaultSelector()
    clients = []
    for at in range(CONNECTIONS):
        client = socket.create_connection(("127.0.0.1", port), timeout=60)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        reads = at % 2 == 0
        waiting: deque[float] = deque()
        selector.register(client, selectors.EVENT_READ, (waiting, markers[0 if reads else 1]))
        clients.append((client, waiting, reads))
    pipe.send(None)
    turn = 1 / TURNS_PER_SECOND
    due = time.monotonic()
    while not pipe.poll():
        for client, waiting, reads in clients:
            client.send(make(source.randrange(keys), reads))
            waiting.append(due)
        due += turn
        while True:
            left = due - time.monotonic()
            for key, _ in selector.select(max(0.0, left)):
                chunk = key.fileobj.recv(1 << 16)
                now = time.monotonic()
                if not chunk:
                    raise ConnectionError("the contestant has closed a connection")
                waiting, marker = key.data
                for _ in range(chunk.count(marker)):
                    begin = waiting.popleft()
                    moments.append(begin)
                    latencies.append((now - begin) * 1000)
            if time.monotonic() >= due:
                break
    pipe.send((moments, latencies))
