"""The page in a browser: how soon it shows something, and what an open dashboard costs the node."""

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import load
import peers
from report import Section, Target
from setup import Setup

FIRST_CHART_MS_MAX = 500.0
WEIGHT_KB_MAX = 100.0
CPU_PERCENT_MAX = 1.0

WATCHED_SECONDS = 30.0
SETTLE_SECONDS = 2.0
DEADLINE_SECONDS = 30.0

# Runs before the page's own scripts: notes when a chart has its first line. Times count from the navigation.
NOTE_FIRST_CHART = """
const look = () => {
  const path = [...document.querySelectorAll(".chart path.s0")].find((path) => path.getAttribute("d")?.includes("L"));
  if (path) window.firstChart = performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


class Browser:
    """Chromium without a screen, over W3C WebDriver."""

    def __init__(self, driver: str) -> None:
        self.session = driver
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,800"]}
        made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        self.session = f"{driver}/session/{made['sessionId']}"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One command; its value."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.session + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=2 * DEADLINE_SECONDS) as response:
            return json.load(response)["value"]

    def run(self, script: str) -> Any:
        """What a script returns."""
        return self.call("POST", "/execute/sync", {"script": script, "args": []})


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser, ended with its driver."""
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout
        port = next(found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        made = Browser(f"http://127.0.0.1:{port}")
        try:
            yield made
        finally:
            made.call("DELETE", "")
    finally:
        driver.kill()
        driver.wait()


def first_chart_ms(url: str) -> tuple[float, float]:
    """From the navigation to the first line in a chart, in a browser that has seen nothing yet; and KB fetched."""
    with browser() as made:
        # What the browser does for itself at its start is over.
        made.call("POST", "/url", {"url": "about:blank"})
        time.sleep(SETTLE_SECONDS)
        command = {"cmd": "Page.addScriptToEvaluateOnNewDocument", "params": {"source": NOTE_FIRST_CHART}}
        made.call("POST", "/goog/cdp/execute", command)
        made.call("POST", "/url", {"url": f"{url}/#dashboard"})
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (shown := made.run("return window.firstChart ?? null")) is None:
            if time.monotonic() > deadline:
                raise load.LoadError("no chart is shown")
            time.sleep(0.05)
        sizes = "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
        weight = made.run(
            f"return {sizes}.filter((e) => /\\/(page\\/.*)?(#.*)?$/.test(e.name)).reduce((sum, e) => sum + e.transferSize, 0)"
        )
        return shown, weight / 1000


def cpu_seconds(pid: int) -> float:
    """What a process has used of processors."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def page(setup: Setup) -> Iterator[Section]:
    """The dashboard of a node that has kept some minutes, opened anew each round."""
    watched = WATCHED_SECONDS if setup.scale == 1 else 5.0
    with peers.directory() as home, peers.pykv(setup.binary, home / "data") as node:
        load.load(node.port, load.http(100), load.at_random(setup.count(200_000), 10_000))
        url = f"http://127.0.0.1:{node.port}"
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            with urllib.request.urlopen(f"{url}/history") as response:
                if len(json.load(response)["samples"]["at_ms"]) > 1:
                    break
            if time.monotonic() > deadline:
                raise load.LoadError("the node keeps no history")
            time.sleep(0.2)
        shown = [first_chart_ms(url) for _ in range(setup.rounds)]
        section = Section("The page: from the navigation to the first chart", "ms")
        first = section.add("dashboard", [ms for ms, _ in shown])
        section.targets.append(Target("first chart", first, FIRST_CHART_MS_MAX, at_least=False))
        yield section

        section = Section("The page: its weight on the wire, with headers", "KB")
        weight = section.add("all files", [kb for _, kb in shown])
        section.targets.append(Target("weight", weight, WEIGHT_KB_MAX, at_least=False))
        yield section

        with browser() as made:
            made.call("POST", "/url", {"url": f"{url}/#dashboard"})
            time.sleep(2.0)
            before, begun = cpu_seconds(node.process.pid), time.monotonic()
            time.sleep(watched)
            used = 100 * (cpu_seconds(node.process.pid) - before) / (time.monotonic() - begun)
        section = Section(f"The page: what an open dashboard takes of a core of the node, over {watched:.0f} s", "%")
        section.add("node", [used])
        section.targets.append(Target("node", used, CPU_PERCENT_MAX, at_least=False))
        yield section
