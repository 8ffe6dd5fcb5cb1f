"""The contestants: how each is started on a free loopback port in a directory of its own, and stopped.

Each has a process group of its own, so that Ctrl-C reaches this program alone, which then stops exactly
what it started, by process id.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

START_SECONDS_MAX = 120.0

# Of a cluster of redis.
SLOTS = 16384

# The command of each peer, and the package of Debian it comes in.
PACKAGES = {
    "wrk": "wrk",
    "redis-server": "redis-server",
    "webdis": "webdis",
    "nginx": "nginx-light",
    "memcached": "memcached",
    "etcd": "etcd-server",
    "chromedriver": "chromium-driver",
    "openssl": "openssl",
}

# What the FastAPI baseline is made of.
PYTHON_PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools")


class PeerError(Exception):
    """A contestant that cannot be had or did not start."""


@dataclass
class Peer:
    """A contestant that runs."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    dir: Path
    store: "Peer | None" = None  # What stands behind it.

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise PeerError(f"{self.name} is gone")

    def settled_rss_bytes(self) -> int:
        """Resident memory once it no longer changes: allocators give back with a delay."""
        last, since = self.rss_bytes(), time.monotonic()
        start = since
        while time.monotonic() - since < 3 and time.monotonic() - start < 20:
            time.sleep(0.2)
            now = self.rss_bytes()
            if abs(now - last) > 256 * 1024:
                last, since = now, time.monotonic()
        return self.rss_bytes()

    def stop(self) -> None:
        """Asks the process to end, and ends it if it does not."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def redis_ready(port: int) -> bool:
    """Whether redis has loaded its data: it accepts connections earlier, and says LOADING."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
    except OSError:
        return False


@contextlib.contextmanager
def started(
    name: str, command: list[str], port: int, directory: Path, ready: Callable[[int], bool] = answers
) -> Iterator[Peer]:
    """Starts a process, waits until it is ready, and stops it in the end."""
    log = directory / f"{name}.stderr"
    with log.open("ab") as err:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=err, stderr=err, start_new_session=True
        )
    peer = Peer(name, port, process, directory)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise PeerError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.002)
        yield peer
    finally:
        peer.stop()


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A temporary directory; TMPDIR says where, which matters where a disk is measured."""
    path = Path(tempfile.mkdtemp(prefix="pykv-bench-"))
    path.chmod(0o755)  # nginx drops to a user of its own.
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def pykv(binary: Path, data: Path, *options: str, follows: int | None = None) -> Iterator[Peer]:
    """pykv, which chooses its port by itself and says on stdout when it is ready; perhaps a replica of a port's."""
    role = ["serve"] if follows is None else ["replica", "--from", f"127.0.0.1:{follows}"]
    with _pykv([str(binary), *role, "--listen", "127.0.0.1:0", "--dir", str(data), *options], data) as peer:
        yield peer


def gateway(binary: Path, where: Path, *ports: int) -> contextlib.AbstractContextManager[Peer]:
    """pykv before a redis, or before a cluster of some."""
    engine = "redis://" + ",".join(f"127.0.0.1:{port}" for port in ports)
    return _pykv([str(binary), "serve", "--listen", "127.0.0.1:0", "--engine", engine], where / "gateway")


@contextlib.contextmanager
def _pykv(command: list[str], data: Path) -> Iterator[Peer]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYKV_")}
    log = data.parent / "pykv.stderr"
    with log.open("ab") as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            env=environment,
            start_new_session=True,
        )
    peer = Peer("pykv", 0, process, data)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode(errors="replace")
        if "listening on http" not in line:
            raise PeerError(f"pykv did not start: {line}{log.read_text(errors='replace')[-2000:]}")
        peer.port = int(line.strip().rstrip("/").rsplit(":", 1)[1])
        yield peer
    finally:
        peer.stop()
        if process.stdout is not None:
            process.stdout.close()


def redis(where: Path, *options: str) -> contextlib.AbstractContextManager[Peer]:
    """redis, without snapshots and, unless asked, without its log."""
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(where), "--save", ""]
    command += ["--daemonize", "no", "--logfile", "", "--loglevel", "warning", *options]
    return started("redis", command, port, where, redis_ready)


def redis_call(port: int, *words: str) -> str:
    """The first line of what redis answers to a command."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        client.sendall(request.encode())
        return client.makefile("rb").readline().decode().strip()


@contextlib.contextmanager
def redis_cluster(where: Path, masters: int) -> Iterator[list[Peer]]:
    """Some masters that share the slots, without replicas."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for number in range(masters):
            home = where / str(number)
            home.mkdir()
            bus = str(free_port())
            options = ("--appendonly", "no", "--cluster-enabled", "yes", "--cluster-port", bus)
            nodes.append((stack.enter_context(redis(home, *options)), bus))
        for number, (node, _) in enumerate(nodes):
            first, last = SLOTS * number // masters, SLOTS * (number + 1) // masters - 1
            redis_call(node.port, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        for node, bus in nodes[1:]:
            redis_call(nodes[0][0].port, "CLUSTER", "MEET", "127.0.0.1", str(node.port), bus)
        deadline = time.monotonic() + START_SECONDS_MAX
        # A node that knows all slots takes a key of any: its own, or with word of where it is.
        while not all(redis_call(node.port, "GET", key)[:5] in ("$-1", "-MOVE") for node, _ in nodes for key in "abcdef"):
            if time.monotonic() > deadline:
                raise PeerError("the cluster does not come up")
            time.sleep(0.05)
        yield [node for node, _ in nodes]


@contextlib.contextmanager
def webdis(where: Path, *redis_options: str) -> Iterator[Peer]:
    """webdis before a redis of its own."""
    with redis(where, *redis_options) as store, webdis_before(store, where) as peer:
        yield peer


@contextlib.contextmanager
def webdis_before(store: Peer, where: Path, database: int = 0) -> Iterator[Peer]:
    """webdis: one thread a processor, its log at errors only."""
    port = free_port()
    config = where / "webdis.json"
    settings = {
        "redis_host": "127.0.0.1",
        "redis_port": store.port,
        "http_host": "127.0.0.1",
        "http_port": port,
        "threads": os.cpu_count() or 1,
        "daemonize": False,
        "database": database,
        "verbosity": 0,
        "logfile": str(where / "webdis.log"),
    }
    config.write_text(json.dumps(settings))
    with started("webdis", ["webdis", str(config)], port, where) as peer:
        peer.store = store
        yield peer


def nginx(
    where: Path, body: str, content_type: str, headers: dict[str, str], tls: tuple[Path, Path] | None = None
) -> contextlib.AbstractContextManager[Peer]:
    """nginx that answers every request with one body and these headers; under TLS with a certificate and its key."""
    port = free_port()
    temporary = "\n".join(
        f"  {kind}_temp_path {where}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    quoted = "".join(f"    add_header {name} '{value}';\n" for name, value in headers.items())
    secure, certificates = ("", "") if tls is None else (
        " ssl",
        f"    ssl_certificate {tls[0]};\n    ssl_certificate_key {tls[1]};\n    ssl_protocols TLSv1.2 TLSv1.3;\n",
    )
    config = where / "nginx.conf"
    config.write_text(f"""daemon off;
worker_processes auto;
pid {where}/nginx.pid;
error_log {where}/nginx.log error;
events {{ worker_connections 4096; }}
http {{
{temporary}
  access_log off;
  keepalive_timeout 3600;
  keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port}{secure};
    default_type '{content_type}';
{certificates}{quoted}    location / {{ return 200 '{body}'; }}
  }}
}}
""")
    command = ["nginx", "-p", str(where), "-e", f"{where}/nginx.log", "-c", str(config)]
    return started("nginx", command, port, where)


@contextlib.contextmanager
def bare(program: Path, where: Path, body: str, content_type: str, headers: dict[str, str]) -> Iterator[Peer]:
    """A thread a connection and nothing else, which answers every request with one body and these headers."""
    fields = [f"{name}: {value}" for name, value in {"Content-Type": content_type, **headers}.items()]
    with (where / "bare.stderr").open("ab") as err:
        process = subprocess.Popen(
            [str(program), body, *fields],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            start_new_session=True,
        )
    peer = Peer("bare", 0, process, where)
    try:
        assert process.stdout is not None
        peer.port = int(process.stdout.readline())
        yield peer
    finally:
        peer.stop()
        if process.stdout is not None:
            process.stdout.close()


def memcached(where: Path) -> contextlib.AbstractContextManager[Peer]:
    """memcached with room for all that is loaded."""
    port = free_port()
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "8192", "-c", "1024"]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]
    return started("memcached", command, port, where)


def etcd(where: Path) -> contextlib.AbstractContextManager[Peer]:
    """One member of etcd, with its JSON gateway on the client port."""
    port, peer_port = free_port(), free_port()
    client, member = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    command = ["etcd", "--name", "bench", "--data-dir", str(where / "etcd"), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", member, "--initial-advertise-peer-urls", member]
    command += ["--initial-cluster", f"bench={member}", "--quota-backend-bytes", str(8 << 30)]
    return started("etcd", command, port, where, etcd_ready)


def etcd_ready(port: int) -> bool:
    """Whether etcd has elected itself."""
    if not answers(port):
        return False
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /health HTTP/1.0\r\nHost: bench\r\n\r\n")
        reply = b""
        while chunk := client.recv(4096):
            reply += chunk
    return b'"health":"true"' in reply.replace(b" ", b"")


def fastapi(where: Path, python: Path) -> contextlib.AbstractContextManager[Peer]:
    """The baseline, in its virtual environment."""
    port = free_port()
    script = Path(__file__).with_name("baseline_fastapi.py")
    return started("fastapi", [str(python), str(script), str(port), "1000000"], port, where)


def install(commands: set[str]) -> None:
    """Installs from Debian's packages what is not there, where that is allowed."""
    missing = sorted({PACKAGES[command] for command in commands if shutil.which(command) is None})
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise PeerError(f"missing; as root: apt-get install {' '.join(missing)}")
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=sys.stderr, env=environment)
    packages = ["apt-get", "install", "-qq", "--no-install-recommends", *missing]
    subprocess.run(packages, check=True, stdout=sys.stderr, env=environment)


def virtual_environment(path: Path) -> Path:
    """The interpreter that has FastAPI; the environment is made once and kept."""
    python = path / "bin" / "python"
    if not (path / "complete").exists():
        print(f"making {path}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(path)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PYTHON_PACKAGES], check=True, stdout=sys.stderr)
        (path / "complete").touch()
    return python
