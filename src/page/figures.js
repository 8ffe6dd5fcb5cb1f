// The first row of the dashboard: what matters most, in figures.

import { el } from "./ui.js";
import { bytes, count, ms, percent, short } from "./format.js";

export class Figures {
  constructor() {
    this.element = el("dl", { class: "figures", id: "figures" });
  }

  /** `columns` are the samples; what they do not tell, `stats` and `status` do. */
  update(columns, stats, status) {
    if (!stats || !status) return;
    const last = (name) => columns[name]?.findLast((value) => value !== null && value !== undefined) ?? null;
    const { entries_max: keysMax, bytes_max: bytesMax } = stats.limits;
    const part = (value, most) => (most ? `${percent(value / most)} of ${most === keysMax ? short(most) : bytes(most)}` : "no limit");
    const lag = last("lag_bytes");
    const figures = [
      ["Health", status.ready ? "OK" : "Not ready", status.ready ? status.role : status.health, status.ready ? "good" : "bad"],
      ["Requests", last("answers") === null ? "–" : `${short(last("answers"))}/s`, last("latency_p99_ms") === null ? "" : `99 % within ${ms(last("latency_p99_ms"))}`],
      ["Hit ratio", last("hit_ratio") === null ? "–" : percent(last("hit_ratio")), stats.hit_ratio === null ? "" : `${percent(stats.hit_ratio)} since the start`],
      ["Keys", short(stats.entries), part(stats.entries, keysMax)],
      ["Memory", bytes(stats.bytes), part(stats.bytes, bytesMax), bytesMax && stats.bytes / bytesMax > 0.95 ? "near" : ""],
      ["Lag", lag === null ? "–" : bytes(lag), lag === null ? "no replica" : status.role === "replica" ? "behind the primary" : "of the slowest replica", lag > 16 << 20 ? "near" : ""],
    ];
    this.element.replaceChildren(...figures.map(([name, value, more, kind]) =>
      el("div", { class: `card ${kind ?? ""}`.trim(), title: name === "Keys" ? count(stats.entries) : null }, el("dt", {}, name), el("dd", {}, value, el("small", {}, more)))));
  }
}
