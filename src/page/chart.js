// A chart of lines over time, drawn as SVG; its values can be read with a pointer, a finger or the arrow keys.
//
// A stretch is chosen by dragging over it, or with Shift and the arrow keys up and down.
// Nothing in it jumps: the axis on the left keeps its end while the data fits it and is not far below,
// labels have a width of their own, and time runs through the same window.

import { el, svg } from "./ui.js";
import { clock } from "./format.js";

const HEIGHT = 150;
const LEFT = 70;
const DRAG_PX = 8;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;

/** The end of an axis: round, above the data, and the same as before while that does. */
export class Axis {
  constructor({ least, base = 10 }) {
    this.least = least;
    this.base = base;
    this.end = least;
  }

  fit(most) {
    if (most > this.end || most < this.end * 0.3) this.end = Math.max(this.least, this.round(most * 1.1));
    return this.end;
  }

  round(number) {
    if (!(number > 0)) return this.least;
    if (this.base === 1024) {
      const unit = 1024 ** Math.max(0, Math.floor(Math.log(number) / Math.log(1024)));
      return unit * this.step(number / unit);
    }
    return this.step(number);
  }

  step(number) {
    const power = 10 ** Math.floor(Math.log10(number));
    return [1, 2, 4, 6, 8, 10].find((step) => step * power >= number * 0.999999) * power;
  }
}

export class Chart {
  /**
   * `series`: name of the column and label; `format`: of a value; `axis`: an Axis, or a number where it
   * always ends; `pointed` gets the time that is pointed at, or null; `zoomed` gets the stretch that was chosen.
   */
  constructor({ title, series, format, axis, pointed, zoomed }) {
    Object.assign(this, { title, series, format, axis, pointed, zoomed });
    this.times = [];
    this.columns = {};
    this.window = [0, 1];
    this.limit = null;
    this.at = null;
    this.lines = series.map((_, index) => svg("path", { class: `series s${index}`, fill: "none" }));
    this.grid = svg("g", { class: "grid" });
    this.mark = svg("line", { class: "mark", y1: String(TOP), y2: String(HEIGHT - BOTTOM), visibility: "hidden" });
    this.bound = svg("line", { class: "bound", visibility: "hidden" });
    this.stretch = svg("rect", { class: "stretch", y: String(TOP), height: String(HEIGHT - BOTTOM - TOP), visibility: "hidden" });
    this.dragged = null;
    this.plot = svg("svg", {
      class: "plot", height: String(HEIGHT), tabindex: "0", role: "img", "aria-label": `${title}: a chart; arrow keys read its values, Shift with up or down zooms`,
      on: {
        pointermove: (event) => this.moved(event),
        pointerdown: (event) => this.held(event),
        pointerup: (event) => this.released(event),
        pointerleave: () => this.pointed(null),
        keydown: (event) => this.pressed(event),
        blur: () => this.pointed(null),
      },
    }, this.stretch, this.grid, this.bound, ...this.lines, this.mark);
    this.values = series.map(() => el("span", { class: "number" }, "–"));
    this.time = el("span", { class: "time" });
    this.note = el("span", { class: "note" });
    this.spoken = el("p", { class: "away", role: "status" });
    this.limitText = el("li", { class: "limit", hidden: true });
    const legend = el("ul", { class: "legend" }, series.map(({ label }, index) =>
      el("li", {}, el("i", { class: `swatch s${index}` }), `${label} `, this.values[index])), this.limitText);
    this.element = el("section", { class: "chart card", "aria-label": title },
      el("div", { class: "head" }, el("h3", {}, title), this.note, this.time), legend, this.plot, this.spoken);
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  /** Takes data: times in ms, a column for each series, the window that is shown, and a bound to show and its name. */
  update(times, columns, window, limit = null, limitText = "") {
    Object.assign(this, { times, columns, window, limit });
    this.limitText.hidden = limit === null;
    if (limit !== null && this.limitText.textContent !== limitText) this.limitText.replaceChildren(el("i", { class: "swatch dashed" }), limitText);
    this.draw();
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width) return;
    this.plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const [from, to] = this.window;
    this.x = (time) => LEFT + ((time - from) / (to - from)) * (width - LEFT - RIGHT);
    const first = this.times.findIndex((time) => time >= from);
    const end0 = this.times.findIndex((time) => time > to);
    const seen = first < 0 ? [] : this.series.flatMap(({ name }) => (this.columns[name] ?? []).slice(first, end0 < 0 ? undefined : end0));
    let most = seen.reduce((top, value) => (value > top ? value : top), 0);
    // Where the bound is near, there is room for it; where it is far off, data would be a flat line.
    if (this.limit !== null && this.limit <= most * 3) most = Math.max(most, this.limit);
    const end = typeof this.axis === "number" ? this.axis : this.axis.fit(most);
    const y = (value) => HEIGHT - BOTTOM - (Math.min(value, end) / end) * (HEIGHT - TOP - BOTTOM);
    this.drawGrid(width, end, y);
    const showsBound = this.limit !== null && this.limit <= end;
    this.bound.setAttribute("visibility", showsBound ? "visible" : "hidden");
    if (showsBound) for (const [name, value] of [["x1", LEFT], ["x2", width - RIGHT], ["y1", y(this.limit)], ["y2", y(this.limit)]]) this.bound.setAttribute(name, value);
    const gap = 3 * (this.times.length > 1 ? this.times.at(-1) - this.times[0] : 0) / Math.max(1, this.times.length - 1);
    this.series.forEach(({ name }, index) => this.lines[index].setAttribute("d", path(this.times, this.columns[name] ?? [], [from, to], gap, this.x, y)));
    this.read();
  }

  drawGrid(width, end, y) {
    const marks = [0, 0.5, 1].map((part) => [
      svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(part * end), y2: y(part * end) }),
      svg("text", { x: LEFT - 8, y: y(part * end) + 4, "text-anchor": "end" }, this.format(part * end)),
    ]);
    const [from, to] = this.window;
    const step = [5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600].find((seconds) => ((to - from) / 1000 / seconds) * 72 < width - LEFT) ?? 28800;
    for (let at = Math.ceil(from / step / 1000) * step * 1000; at <= to; at += step * 1000) {
      const x = this.x(at);
      if (x < LEFT + 18 || x > width - RIGHT - 14) continue;
      marks.push([svg("text", { x, y: HEIGHT - 4, "text-anchor": "middle" }, clock(at).slice(0, step < 60 ? 8 : 5))]);
    }
    this.grid.replaceChildren(...marks.flat());
  }

  point(x) {
    let best = null;
    if (!this.x) return;
    this.times.forEach((time, index) => {
      if (time < this.window[0] || time > this.window[1]) return;
      if (best === null || Math.abs(this.x(time) - x) < Math.abs(this.x(this.times[best]) - x)) best = index;
    });
    this.pointed(best === null ? null : this.times[best]);
  }

  held(event) {
    this.point(event.offsetX);
    if (event.pointerType === "touch") return;
    this.dragged = event.offsetX;
    this.plot.setPointerCapture?.(event.pointerId);
  }

  moved(event) {
    this.point(event.offsetX);
    if (this.dragged === null) return;
    const [left, right] = [Math.min(this.dragged, event.offsetX), Math.max(this.dragged, event.offsetX)];
    this.stretch.setAttribute("x", left);
    this.stretch.setAttribute("width", right - left);
    this.stretch.setAttribute("visibility", right - left >= DRAG_PX ? "visible" : "hidden");
  }

  released(event) {
    const begun = this.dragged;
    this.dragged = null;
    this.stretch.setAttribute("visibility", "hidden");
    if (begun === null || Math.abs(event.offsetX - begun) < DRAG_PX) return;
    const [from, to] = this.window;
    const time = (x) => from + ((Math.min(Math.max(x, LEFT), this.plot.clientWidth - RIGHT) - LEFT) / (this.plot.clientWidth - LEFT - RIGHT)) * (to - from);
    this.zoomed([time(Math.min(begun, event.offsetX)), time(Math.max(begun, event.offsetX))]);
  }

  /** Makes the stretch half as long or twice, around what is pointed at. */
  scale(by) {
    const [from, to] = this.window;
    const middle = this.at ?? (from + to) / 2;
    const half = ((to - from) * by) / 2;
    this.zoomed([middle - half, middle + half]);
  }

  pressed(event) {
    if (event.shiftKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      return this.scale(event.key === "ArrowUp" ? 0.5 : 2);
    }
    const last = this.times.length - 1;
    const shown = this.times.findIndex((time) => time >= this.window[0]);
    const now = this.at === null ? last + 1 : this.times.indexOf(this.at);
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: shown, End: last, PageUp: now - 10, PageDown: now + 10 }[event.key];
    if (event.key === "Escape") this.pointed(null);
    else if (to !== undefined && last >= 0) {
      this.pointed(this.times[Math.max(shown, Math.min(last, to))]);
      this.spoken.textContent = `${this.time.textContent}: ${this.series.map(({ label }, index) => `${label} ${this.values[index].textContent}`).join(", ")}`;
    } else return;
    event.preventDefault();
  }

  /** Shows the values of a time, or with null the last ones. */
  show(time) {
    this.at = time;
    this.read();
  }

  read() {
    const index = this.at === null ? this.times.findLastIndex((time) => time <= this.window[1]) : this.times.indexOf(this.at);
    const isShown = this.at !== null && index >= 0 && this.x;
    this.mark.setAttribute("visibility", isShown ? "visible" : "hidden");
    if (isShown) for (const name of ["x1", "x2"]) this.mark.setAttribute(name, this.x(this.at));
    this.time.textContent = isShown ? clock(this.at) : "";
    this.series.forEach(({ name }, at) => {
      const value = this.columns[name]?.[index];
      this.values[at].textContent = value === null || value === undefined ? "–" : this.format(value);
    });
  }
}

/** The line of a column; it is broken where a value is not known, and over times that nobody recorded. */
function path(times, column, [from, to], gap, x, y) {
  let out = "";
  let last = null;
  for (let index = 0; index < times.length; index += 1) {
    const value = column[index];
    if (times[index] < from || times[index] > to) continue;
    if (value === null || value === undefined) {
      last = null;
      continue;
    }
    const joins = last !== null && times[index] - last <= gap;
    out += `${joins ? "L" : "M"}${x(times[index]).toFixed(1)} ${y(value).toFixed(1)}${joins ? "" : "h.01"}`;
    last = times[index];
  }
  return out;
}
