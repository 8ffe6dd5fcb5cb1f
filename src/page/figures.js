// The first row of the dashboard: what matters most, in figures.

import { card, engineFigures } from "./engine.js";
import { el } from "./ui.js";
import { bytes, count, ms, percent, short } from "./format.js";

export class Figures {
  constructor() {
    this.element = el("dl", { class: "figures", id: "figures" });
  }

  /** `columns` are the samples; what they do not tell, `stats` and `status` do. */
  update(columns, stats, status) {
    if (!stats || !status) return;
    const last = (name) => lastOf(columns, name);
    if (status.engine) return this.ofEngine(columns, stats, status);
    const { entries_max: keysMax, bytes_max: bytesMax } = stats.limits;
    const part = (value, most) => (most ? `${percent(value / most)} of ${most === keysMax ? short(most) : bytes(most)}` : "no limit");
    const lag = last("lag_bytes");
    const figures = [
      ["Health", status.ready ? "OK" : "Not ready", status.ready ? status.role : status.health, status.ready ? "good" : "bad"],
      requests(columns),
      ["Hit ratio", last("hit_ratio") === null ? "–" : percent(last("hit_ratio")), stats.hit_ratio === null ? "" : `${percent(stats.hit_ratio)} since the start`],
      ["Keys", short(stats.entries), part(stats.entries, keysMax)],
      ["Memory", bytes(stats.bytes), part(stats.bytes, bytesMax), bytesMax && stats.bytes / bytesMax > 0.95 ? "near" : ""],
      ["Lag", lag === null ? "–" : bytes(lag), lag === null ? "no replica" : status.role === "replica" ? "behind the primary" : "of the slowest replica", lag > 16 << 20 ? "near" : ""],
    ];
    this.element.replaceChildren(...figures.map(([name, value, more, kind]) =>
      el("div", { class: `card ${kind ?? ""}`.trim(), title: name === "Keys" ? count(stats.entries) : null }, el("dt", {}, name), el("dd", {}, value, el("small", {}, more)))));
  }

  ofEngine(columns, stats, status) {
    const { health, keys, memory, hits, servers } = engineFigures(status, stats);
    this.element.replaceChildren(...[health, requests(columns), hits, keys, memory, servers].map(card));
  }
}

const lastOf = (columns, name) => columns[name]?.findLast((value) => value !== null && value !== undefined) ?? null;

function requests(columns) {
  const [rate, within] = [lastOf(columns, "answers"), lastOf(columns, "latency_p99_ms")];
  return ["Requests", rate === null ? "–" : `${short(rate)}/s`, within === null ? "" : `99 % within ${ms(within)}`];
}
