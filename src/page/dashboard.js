// The dashboard: the last hour as the node has kept it, and what it does now.

import { getJson, node, withQuery } from "./api.js";
import { Axis, Chart } from "./chart.js";
import { Curve } from "./curve.js";
import { linkTo } from "./explorer.js";
import { el, every } from "./ui.js";
import { bytes, count, ms, percent, short, span } from "./format.js";

const POLL_MS = 2000;
const KEPT_MS = 3_600_000;
const WINDOWS = [["5 min", 300], ["15 min", 900], ["1 hour", 3600]];
const COLUMN = (name, label) => ({ name, label });
const bytesAxis = () => new Axis({ least: 1024 * 1024, base: 1024 });

const CHARTS = [
  { title: "Keys a second, and answers", format: short, axis: () => new Axis({ least: 10 }),
    series: [COLUMN("gets", "get"), COLUMN("puts", "put"), COLUMN("deletes", "delete"), COLUMN("answers", "all answers")] },
  { title: "Latency", format: ms, axis: () => new Axis({ least: 1 }),
    series: [COLUMN("latency_p50_ms", "p50"), COLUMN("latency_p99_ms", "p99"), COLUMN("latency_p999_ms", "p99.9")] },
  { title: "Hit ratio", format: percent, axis: () => 1, series: [COLUMN("hit_ratio", "hits of reads")] },
  { title: "Entries", format: short, axis: () => new Axis({ least: 100 }), series: [COLUMN("entries", "entries")],
    limit: (stats) => stats.limits.entries_max, limitFormat: count },
  { title: "Memory of entries", format: bytes, axis: bytesAxis, series: [COLUMN("bytes", "held")],
    limit: (stats) => stats.limits.bytes_max, limitFormat: bytes },
  { title: "Dropped a second", format: short, axis: () => new Axis({ least: 10 }), series: [COLUMN("evictions", "evicted"), COLUMN("expiries", "expired")] },
  { title: "Log", format: bytes, axis: bytesAxis, series: [COLUMN("log_bytes", "on disk")], note: compacted },
  { title: "Longest sync", format: ms, axis: () => new Axis({ least: 10 }), series: [COLUMN("sync_ms", "sync")] },
  { title: "Connections", format: short, axis: () => new Axis({ least: 10 }), series: [COLUMN("connections", "open")],
    limit: (stats) => stats.connections.max, limitFormat: count },
  { title: "Replication lag", format: bytes, axis: () => new Axis({ least: 1024, base: 1024 }), series: [COLUMN("lag_bytes", "behind")], optional: true },
];

export class Dashboard {
  constructor() {
    this.seconds = WINDOWS[0][1];
    this.chosen = false;
    this.columns = { at_ms: [] };
    this.charts = CHARTS.map((spec) => ({
      spec,
      chart: new Chart({ ...spec, axis: spec.axis(), pointed: (time) => this.charts.forEach(({ chart }) => chart.show(time)) }),
    }));
    this.choice = el("div", { class: "choice", role: "group", "aria-label": "Time shown" }, WINDOWS.map(([label, seconds]) =>
      el("button", { type: "button", "data-seconds": String(seconds), onclick: () => this.choose(seconds, true) }, label)));
    this.says = el("p", { class: "note", role: "status", id: "dashboard-note" });
    this.curve = new Curve();
    this.hot = el("tbody");
    this.big = el("tbody");
    this.tables = el("div", { class: "charts" }, table("Most read keys", "Reads", this.hot, "hot-keys"), table("Largest keys", "Size", this.big, "big-keys"));
    this.element = el("div", { class: "dashboard" }, el("div", { class: "bar" }, this.choice, this.says),
      el("div", { class: "charts" }, this.charts.map(({ chart }) => chart.element)), this.curve.element, this.tables);
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

  choose(seconds, byHand = false) {
    this.seconds = seconds;
    this.chosen ||= byHand;
    for (const button of this.choice.children) button.setAttribute("aria-pressed", String(button.dataset.seconds === String(seconds)));
    this.draw();
  }

  async refresh() {
    const last = this.columns.at_ms.at(-1);
    const [history, stats, status] = await Promise.all([
      getJson(withQuery("history", { after: last ?? null }), { quiet: true }).catch((error) => this.failed(error)),
      getJson("stats", { quiet: true }).catch(() => null),
      getJson("status", { quiet: true }).catch(() => null),
    ]);
    if (history) this.take(history.samples);
    // Until somebody has chosen: the shortest time that shows all there is, up to a quarter of an hour.
    const known = (this.columns.at_ms.at(-1) - this.columns.at_ms[0]) / 1000;
    if (!this.chosen && known > this.seconds && this.seconds < WINDOWS[1][1]) this.choose(WINDOWS[1][1]);
    this.stats = stats ?? this.stats;
    this.status = status ?? this.status;
    this.draw();
  }

  failed(error) {
    this.says.textContent = error.status === 404 ? "This node keeps no history." : error.message;
    return null;
  }

  take(samples) {
    this.says.textContent = "";
    const old = this.columns;
    const cut = (samples.at_ms.at(-1) ?? old.at_ms.at(-1) ?? 0) - KEPT_MS;
    const from = Math.max(0, old.at_ms.findIndex((time) => time >= cut));
    const names = new Set([...Object.keys(old), ...Object.keys(samples)]);
    this.columns = {};
    for (const name of names) {
      const before = old[name] ?? old.at_ms.map(() => null);
      this.columns[name] = [...before.slice(from), ...(samples[name] ?? samples.at_ms.map(() => null))];
    }
  }

  draw() {
    const times = this.columns.at_ms;
    const to = times.at(-1) ?? Date.now();
    for (const { spec, chart } of this.charts) {
      const limit = this.stats && spec.limit ? spec.limit(this.stats) ?? null : null;
      const notes = [limit === null ? null : `of ${spec.limitFormat(limit)}`, spec.note && this.status ? spec.note(this.status) : null];
      chart.note.textContent = notes.filter(Boolean).join(" · ");
      chart.element.hidden = Boolean(spec.optional) && !spec.series.some(({ name }) => this.columns[name]?.some((value) => value !== null));
      chart.update(times, this.columns, [to - this.seconds * 1000, to], limit);
    }
    if (this.stats) this.drawKeys();
  }

  drawKeys() {
    const { stats } = this;
    this.curve.update(stats);
    this.tables.hidden = !stats.hot_keys && !stats.big_keys;
    rows(this.hot, (stats.hot_keys ?? []).map(({ key, reads }) => [key, count(reads)]));
    rows(this.big, (stats.big_keys ?? []).map((big) => [big.key, bytes(big.bytes)]));
  }
}

function compacted(status) {
  const { running, last } = status.compaction ?? {};
  if (running) return "being compacted";
  if (!last) return "not compacted yet";
  if (last.error) return "the last compaction failed";
  return `compacted from ${bytes(last.bytes_before)} to ${bytes(last.bytes_after)} in ${span(last.seconds)}`;
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
    el("tr", {}, el("td", { class: "key" }, el("a", { href: linkTo(key), title: key }, key)), el("td", { class: "number" }, value)));
  body.replaceChildren(...(made.length ? made : [el("tr", {}, el("td", { colspan: "2", class: "note" }, "None yet."))]));
}
