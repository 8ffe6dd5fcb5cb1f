// The requests that took long, of late, and what each waited for.

import { el } from "./ui.js";
import { clock, ms } from "./format.js";

const HEADS = ["When", "Request", "Status", "Took", "Lock", "Log", "Replicas"];

export class Slow {
  constructor() {
    this.note = el("span", { class: "note" });
    this.body = el("tbody");
    this.element = el("section", { class: "card", id: "slow", "aria-label": "Slow requests", hidden: true },
      el("div", { class: "head" }, el("h3", {}, "Slow requests"), this.note),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Slow requests, a table" }, el("table", {}, el("thead", {}, el("tr", {}, HEADS.map((name, at) => el("th", { scope: "col", class: at > 1 ? "number" : "" }, at > 3 ? `Waited: ${name.toLowerCase()}` : name)))), this.body)));
  }

  update(slow) {
    this.element.hidden = !slow;
    if (!slow) return;
    this.note.textContent = slow.from_ms === null ? "Nobody looks for them: --slow-ms is 0." : `Requests of ${ms(slow.from_ms)} or longer (--slow-ms).`;
    const rows = slow.requests.map((one) => el("tr", {}, el("td", {}, clock(one.at_ms)), el("td", { class: "key", title: one.request }, one.request),
      el("td", { class: "number" }, String(one.status)), [one.took_ms, one.lock_ms, one.log_ms, one.replicas_ms].map((time) => el("td", { class: "number" }, time ? ms(time) : "–"))));
    this.body.replaceChildren(...(rows.length ? rows : [el("tr", {}, el("td", { colspan: String(HEADS.length), class: "note" }, "None."))]));
  }
}
