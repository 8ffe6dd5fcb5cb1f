"""One run of wrk against one contestant."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Target:
    """Where a contestant takes a kind of request, and in what form."""

    port: int
    kind: str
    before: str
    after: str = ""
    headers: tuple[str, ...] = field(default=())
    scheme: str = "http"


@dataclass(frozen=True)
class Result:
    """What wrk measured."""

    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class WrkError(Exception):
    """A run that cannot be counted: answers were errors, or connections broke."""


def run(target: Target, *, connections: int, seconds: float, depth: int = 1, seed: int = 1) -> Result:
    """Sends as many requests as are answered. Any answer but a success voids the run."""
    threads = min(connections, os.cpu_count() or 1, 8)
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(SCRIPT), f"{target.scheme}://127.0.0.1:{target.port}", "--"]
    command += [target.kind, target.before, target.after, str(depth), str(seed), *target.headers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise WrkError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    figures = json.loads(lines[-1])
    if figures["requests"] == 0 or figures["status_errors"] or figures["socket_errors"]:
        raise WrkError(f"port {target.port}, {target.kind}, {connections} connections: {figures}")
    return Result(
        per_second=figures["requests"] / figures["seconds"],
        p50_ms=figures["p50_ms"],
        p99_ms=figures["p99_ms"],
        max_ms=figures["max_ms"],
    )
