// What would more memory buy? The hit ratio over the number of entries, as the node has estimated it.

import { el, svg } from "./ui.js";
import { count, percent, short } from "./format.js";

const HEIGHT = 210;
const LEFT = 70;
const RIGHT = 16;
const TOP = 12;
const BOTTOM = 24;

export class Curve {
  constructor() {
    this.plot = svg("svg", {
      class: "plot", height: String(HEIGHT), role: "img", tabindex: "0", "aria-describedby": "curve-words",
      on: { pointermove: (event) => this.point(event.offsetX), pointerleave: () => this.choose(null), keydown: (event) => this.pressed(event), blur: () => this.choose(null) },
    });
    this.words = el("p", { class: "words", id: "curve-words" });
    this.assumes = el("p", { class: "note", id: "curve-assumes" }, "An estimate from a sample of the reads. It assumes that clients keep reading the same keys in the same way, and that a key that is missing is added after the read. Reads of keys that nobody ever adds count as misses today and as hits here.");
    this.value = el("p", { class: "note", role: "status" });
    this.element = el("section", { class: "chart card", id: "curve", "aria-label": "What would more memory buy?" },
      el("h3", {}, "What would more memory buy? Hit ratio by number of entries"), this.words, this.plot, this.value, this.assumes);
    this.points = [];
    this.chosen = null;
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  update(stats) {
    const curve = stats.miss_ratio_curve;
    this.element.hidden = curve === undefined;
    if (curve === undefined) return;
    this.plot.toggleAttribute("hidden", curve === null);
    if (curve === null) {
      this.words.textContent = "Too few reads so far for an estimate.";
      return;
    }
    this.points = curve.points;
    this.now = curve.entries;
    this.words.textContent = words(this.points, this.now);
    this.value.textContent ||= `Estimated from ${count(curve.sampled)} sampled keys.`;
    this.draw();
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width || this.points.length < 2) return;
    const [first, last] = [this.points[0].entries, this.points.at(-1).entries];
    const x = (entries) => LEFT + (Math.log(entries / first) / Math.log(last / first)) * (width - LEFT - RIGHT);
    const y = (ratio) => HEIGHT - BOTTOM - ratio * (HEIGHT - TOP - BOTTOM);
    this.x = x;
    const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((ratio) => [
      svg("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(ratio), y2: y(ratio) }),
      svg("text", { x: LEFT - 8, y: y(ratio) + 4, "text-anchor": "end" }, percent(ratio)),
    ]);
    const ticks = width < 500 ? [0.1, 1, 10] : [0.1, 0.2, 0.5, 1, 2, 5, 10];
    for (const times of ticks) {
      const at = this.now * times;
      if (at < first * 0.999 || at > last * 1.001) continue;
      const anchor = times === 10 ? "end" : "middle";
      parts.push(svg("text", { x: x(at), y: HEIGHT - 6, "text-anchor": anchor }, short(at)));
    }
    parts.push(svg("path", { class: "series s0", fill: "none", d: this.points.map((point, at) => `${at ? "L" : "M"}${x(point.entries).toFixed(1)} ${y(point.hit_ratio).toFixed(1)}`).join("") }));
    const today = ratioAt(this.points, this.now);
    parts.push(svg("line", { class: "mark", x1: x(this.now), x2: x(this.now), y1: TOP, y2: HEIGHT - BOTTOM }),
      svg("circle", { class: "today", cx: x(this.now), cy: y(today), r: 5 }),
      svg("text", { class: "today", x: x(this.now) + 9, y: y(today) + (today > 0.8 ? 20 : -8) }, "today"));
    if (this.chosen !== null) {
      const point = this.points[this.chosen];
      parts.push(svg("circle", { class: "dot", cx: x(point.entries), cy: y(point.hit_ratio), r: 4 }));
    }
    this.plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.plot.setAttribute("aria-label", "Hit ratio over entries; arrow keys read its values");
    this.plot.replaceChildren(...parts);
  }

  point(at) {
    if (!this.x) return;
    const gaps = this.points.map((point) => Math.abs(this.x(point.entries) - at));
    this.choose(gaps.indexOf(Math.min(...gaps)));
  }

  pressed(event) {
    const now = this.chosen ?? Math.max(0, this.points.findIndex((point) => point.entries >= this.now));
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: this.points.length - 1 }[event.key];
    if (to === undefined || !this.points.length) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(this.points.length - 1, to)));
  }

  choose(index) {
    this.chosen = index;
    const point = this.points[index];
    this.value.textContent = point ? `${count(point.entries)} entries: ${percent(point.hit_ratio)} hits` : "";
    this.draw();
  }
}

/** The curve in a sentence: today, and twice and half of it. */
function words(points, now) {
  const part = (entries, what) => `at ${count(Math.round(entries))} entries${what}: ${percent(ratioAt(points, entries))} hits`;
  const text = [part(now, " (today)"), part(now * 2, ""), part(now / 2, "")].join("; ");
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

/** The hit ratio at a number of entries, between the points that are known. */
function ratioAt(points, entries) {
  const after = points.findIndex((point) => point.entries >= entries);
  if (after <= 0) return (after === 0 ? points[0] : points.at(-1)).hit_ratio;
  const [low, high] = [points[after - 1], points[after]];
  return low.hit_ratio + ((entries - low.entries) / (high.entries - low.entries)) * (high.hit_ratio - low.hit_ratio);
}
