// The dashboard: the last hour or day as the node has kept it, and what it does now.

import { getJson, node, withQuery } from "./api.js";
import { oneLine } from "./bytes.js";
import { Axis, Chart } from "./chart.js";
import { Curve } from "./curve.js";
import { EngineServers } from "./engine.js";
import { linkTo } from "./explorer.js";
import { Figures } from "./figures.js";
import { Slow } from "./slow.js";
import { take } from "./state.js";
import { button, el, every } from "./ui.js";
import { bytes, clock, count, ms, percent, short, span } from "./format.js";

const POLL_MS = 2000;
const SLOW_EVERY = 5;
const DAY = 86400;
const WINDOWS = [["5 min", 300], ["15 min", 900], ["1 hour", 3600], ["24 hours", DAY]];
const KEPT_MS = { hour: 3_600_000, day: 86_400_000 };
const ZOOM_MS_MIN = 20_000;
const COLUMN = (name, label) => ({ name, label });
const bytesAxis = () => new Axis({ least: 1024 * 1024, base: 1024 });

const CHARTS = [
  { title: "Requests and keys, per second", format: short, axis: () => new Axis({ least: 10 }),
    series: [COLUMN("gets", "read"), COLUMN("puts", "written"), COLUMN("deletes", "deleted"), COLUMN("answers", "requests")] },
  { title: "Latency of requests for keys", format: ms, axis: () => new Axis({ least: 1 }),
    series: [COLUMN("latency_p50_ms", "50 %"), COLUMN("latency_p99_ms", "99 %"), COLUMN("latency_p999_ms", "99.9 %")] },
  { title: "Hit ratio, % of reads", format: percent, axis: () => 1, series: [COLUMN("hit_ratio", "hits")] },
  { title: "Keys held", format: short, axis: () => new Axis({ least: 100 }), series: [COLUMN("entries", "keys")], note: ofEngine,
    limit: (stats) => stats.limits.entries_max, limitFormat: count },
  { title: "Memory of entries, bytes", format: bytes, axis: bytesAxis, series: [COLUMN("bytes", "held")], note: ofEngine,
    limit: (stats) => stats.limits.bytes_max, limitFormat: bytes },
  { title: "Keys dropped, per second", format: short, axis: () => new Axis({ least: 10 }), series: [COLUMN("evictions", "evicted"), COLUMN("expiries", "expired")] },
  { title: "Log on disk, bytes", format: bytes, axis: bytesAxis, series: [COLUMN("log_bytes", "log")], note: compacted, isOfNode: true },
  { title: "Longest sync of the log", format: ms, axis: () => new Axis({ least: 10 }), series: [COLUMN("sync_ms", "sync")], isOfNode: true },
  { title: "Open connections", format: short, axis: () => new Axis({ least: 10 }), series: [COLUMN("connections", "open")],
    limit: (stats) => stats.connections.max, limitFormat: count },
  { title: "Replication lag, bytes", format: bytes, axis: () => new Axis({ least: 1024, base: 1024 }), series: [COLUMN("lag_bytes", "behind")], optional: true },
];

export class Dashboard {
  constructor() {
    this.seconds = WINDOWS[0][1];
    this.chosen = false;
    this.zoom = null;
    this.isPaused = false;
    this.rounds = 0;
    this.kept = { hour: { at_ms: [] }, day: { at_ms: [] } };
    this.charts = CHARTS.map((spec) => ({
      spec,
      chart: new Chart({ ...spec, axis: spec.axis(), zoomed: (stretch) => this.zoomTo(stretch), pointed: (time) => this.charts.forEach(({ chart }) => chart.show(time)) }),
    }));
    this.choice = el("div", { class: "choice", role: "group", "aria-label": "Time shown" }, WINDOWS.map(([label, seconds]) =>
      el("button", { type: "button", "data-seconds": String(seconds), onclick: () => this.choose(seconds, true) }, label)));
    this.pausing = el("button", { type: "button", id: "pause", "aria-pressed": "false", onclick: () => this.pause() }, "Pause");
    this.unzoom = button("Reset zoom", () => this.zoomTo(null), { id: "unzoom", hidden: true });
    this.says = el("p", { class: "note", role: "status", id: "dashboard-note" });
    this.figures = new Figures();
    this.curve = new Curve();
    this.slow = new Slow();
    this.servers = new EngineServers();
    this.hot = el("tbody");
    this.big = el("tbody");
    this.tables = el("div", { class: "pairs" }, table("Most read keys", "Reads", this.hot, "hot-keys"), table("Largest keys", "Size", this.big, "big-keys"));
    this.grid = el("div", { class: "charts" });
    this.element = el("div", { class: "dashboard" }, this.figures.element, el("div", { class: "bar" }, this.choice, this.pausing, this.unzoom, this.says),
      this.servers.element, this.grid, this.curve.element, this.slow.element, this.tables);
    this.poll = every(POLL_MS, () => this.refresh());
    node.addEventListener("up", () => this.poll.now());
    node.addEventListener("token", () => this.poll.now());
    this.choose(this.seconds);
  }

  async show() {
    this.poll.start();
  }

  hide() {
    this.poll.stop();
  }

  range() {
    return this.seconds === DAY ? "day" : "hour";
  }

  choose(seconds, byHand = false) {
    const before = this.range();
    this.seconds = seconds;
    this.chosen ||= byHand;
    this.zoom = null;
    for (const one of this.choice.children) one.setAttribute("aria-pressed", String(one.dataset.seconds === String(seconds)));
    this.draw();
    if (this.range() !== before) this.poll.now();
  }

  /** Stands still, so that one can read; the node keeps what comes meanwhile. */
  pause() {
    this.isPaused = !this.isPaused;
    this.pausing.setAttribute("aria-pressed", String(this.isPaused));
    this.pausing.textContent = this.isPaused ? "Continue" : "Pause";
    if (this.isPaused) this.says.textContent = `Paused at ${clock(Date.now())}.`;
    else this.poll.now();
  }

  zoomTo(stretch) {
    if (stretch && stretch[1] - stretch[0] < ZOOM_MS_MIN) {
      const middle = (stretch[0] + stretch[1]) / 2;
      stretch = [middle - ZOOM_MS_MIN / 2, middle + ZOOM_MS_MIN / 2];
    }
    this.zoom = stretch;
    this.draw();
  }

  async refresh() {
    if (this.isPaused) return;
    const range = this.range();
    const last = this.kept[range].at_ms.at(-1);
    const wantsSlow = this.rounds % SLOW_EVERY === 0;
    this.rounds += 1;
    const [history, stats, status, slow] = await Promise.all([
      getJson(withQuery("history", { after: last ?? null, range: range === "day" ? "day" : null }), { quiet: true }).catch((error) => this.failed(error)),
      getJson("stats", { quiet: true }).catch(() => null),
      getJson("status", { quiet: true }).catch(() => null),
      wantsSlow ? getJson("slow", { quiet: true }).catch(() => null) : null,
    ]);
    if (history) this.take(range, history.samples);
    // Until somebody has chosen: the shortest time that shows all there is, up to a quarter of an hour.
    const { at_ms: times } = this.kept.hour;
    if (!this.chosen && (times.at(-1) - times[0]) / 1000 > this.seconds && this.seconds < WINDOWS[1][1]) this.choose(WINDOWS[1][1]);
    this.stats = stats ?? this.stats;
    this.status = status ?? this.status;
    if (status) take(status);
    if (wantsSlow) this.slow.update(slow);
    this.servers.update(this.status);
    this.figures.update(this.kept.hour, this.stats, this.status);
    this.draw();
  }

  failed(error) {
    this.says.textContent = error.message;
    return null;
  }

  take(range, samples) {
    this.says.textContent = "";
    const old = this.kept[range];
    const cut = (samples.at_ms.at(-1) ?? old.at_ms.at(-1) ?? 0) - KEPT_MS[range];
    const from = Math.max(0, old.at_ms.findIndex((time) => time >= cut));
    const names = new Set([...Object.keys(old), ...Object.keys(samples)]);
    this.kept[range] = {};
    for (const name of names) {
      const before = old[name] ?? old.at_ms.map(() => null);
      this.kept[range][name] = [...before.slice(from), ...(samples[name] ?? samples.at_ms.map(() => null))];
    }
  }

  draw() {
    const columns = this.kept[this.range()];
    const times = columns.at_ms;
    const to = times.at(-1) ?? Date.now();
    const stretch = this.zoom ?? [to - this.seconds * 1000, to];
    this.unzoom.hidden = this.zoom === null;
    const shown = [];
    for (const { spec, chart } of this.charts) {
      const limit = this.stats && spec.limit ? spec.limit(this.stats) ?? null : null;
      chart.note.textContent = spec.note && this.status ? spec.note(this.status) : "";
      // A limit says nothing of the time before the node was here; it is named, and drawn over what is shown.
      const isHere = !(spec.isOfNode && this.status?.engine);
      if (isHere && (!spec.optional || spec.series.some(({ name }) => columns[name]?.some((value) => value !== null)))) shown.push(chart.element);
      chart.update(times, columns, stretch, limit, limit === null ? "" : `limit ${spec.limitFormat(limit)}`);
    }
    if (shown.length !== this.grid.childElementCount) this.grid.replaceChildren(...shown);
    if (this.seconds === DAY && times.length < 2) this.says.textContent = "The node keeps a sample every 2 minutes for this; the first ones are still to come.";
    if (this.stats) this.drawKeys();
  }

  drawKeys() {
    const { stats } = this;
    this.curve.update(stats);
    const isGateway = Boolean(this.status?.engine);
    this.curve.element.hidden ||= isGateway;
    this.tables.hidden = isGateway || (!stats.hot_keys && !stats.big_keys);
    rows(this.hot, (stats.hot_keys ?? []).map(({ key, reads }) => [key, count(reads)]));
    rows(this.big, (stats.big_keys ?? []).map((big) => [big.key, bytes(big.bytes)]));
  }
}

function ofEngine(status) {
  return status.engine ? "of the engine" : "";
}

function compacted(status) {
  const { running, last } = status.compaction ?? {};
  if (running) return "compacting now";
  if (!last) return "not compacted yet";
  if (last.error) return "the last compaction failed";
  return `last compacted to ${bytes(last.bytes_after)} in ${span(last.seconds)}`;
}

function table(title, measure, body, id) {
  return el("section", { class: "card", "aria-label": title }, el("h3", {}, title),
    el("table", { id }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Key"), el("th", { scope: "col", class: "number" }, measure))), body));
}

/** Fills a table, and leaves it alone where nothing changed: a link that has the focus keeps it. */
function rows(body, lines) {
  const text = JSON.stringify(lines);
  if (body.dataset.lines === text) return;
  body.dataset.lines = text;
  const made = lines.map(([key, value]) =>
    el("tr", {}, el("td", { class: "key" }, el("a", { href: linkTo(key), title: key }, oneLine(key))), el("td", { class: "number" }, value)));
  body.replaceChildren(...(made.length ? made : [el("tr", {}, el("td", { colspan: "2", class: "note" }, "None yet."))]));
}
