// What stands on the right before a key is chosen: how much there is, and what to do first.

import { getJson } from "./api.js";
import { isGateway, readOnly, state, status, writeButton } from "./state.js";
import { el } from "./ui.js";
import { bytes, count, percent } from "./format.js";

export class Welcome {
  constructor(add) {
    this.figures = el("dl", { class: "facts grid", id: "summary" });
    this.hint = el("p", { class: "note" });
    // Until the node has answered, nobody knows that there are no keys.
    this.first = el("div", { hidden: true },
      el("h3", {}, "First steps"),
      el("p", {}, "There are no keys yet. Add one here, drop a file of JSON lines on the list, or send one:"),
      el("pre", { class: "value", tabindex: "0", "aria-label": "A first command" }, `curl -T - '${new URL("kv/greeting?upsert=true", location.href).href}' <<< hello`),
      el("div", { class: "buttons left" }, writeButton("Add the first key", add, { class: "primary" })));
    this.element = el("div", { class: "welcome" }, el("h2", {}, "Keys and values"), this.figures, this.first, this.hint);
    state.addEventListener("status", () => this.element.isConnected && this.again());
  }

  async again() {
    const stats = await getJson("stats", { quiet: true }).catch(() => null);
    if (!stats) return;
    const { entries_max: keysMax, bytes_max: bytesMax } = stats.limits;
    const facts = [
      ["Keys", count(stats.entries), isGateway() ? "in the engine" : keysMax ? `of at most ${count(keysMax)}` : "no limit"],
      [isGateway() ? "Memory" : "Memory of entries", bytes(stats.bytes), isGateway() ? "of the engine" : bytesMax ? `of at most ${bytes(bytesMax)}` : "no limit"],
      ["Keys that expire", count(stats.entries_with_deadline), ""],
      ["Hits of reads", stats.hit_ratio === null ? "–" : percent(stats.hit_ratio), "since the start"],
    ];
    this.figures.replaceChildren(...facts.map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, el("small", {}, more)))));
    this.first.hidden = stats.entries > 0 || readOnly() !== null;
    this.hint.textContent = stats.entries > 0 ? `Choose a key to see its value. Press ? for the keys of the keyboard. ${status?.role === "replica" ? "This replica answers reads." : ""}` : "";
  }
}
