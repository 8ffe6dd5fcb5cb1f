// JSON as lines that fold, with colours, numbers of lines and a search.

import { pretty, tokensOf } from "./bytes.js";
import { el } from "./ui.js";
import { count, plural } from "./format.js";

const SHOWN_LINES = 1500;

/** The lines of a JSON text, each with where the block ends that it opens. */
function linesOf(text) {
  const lines = pretty(text).split("\n").map((line) => ({ text: line, end: null }));
  const opened = [];
  lines.forEach(({ text: line }, at) => {
    const last = line.at(-1);
    const first = line.trimStart()[0];
    if (first === "}" || first === "]") {
      const start = opened.pop();
      if (start !== undefined) lines[start].end = at;
    }
    if (last === "{" || last === "[") opened.push(at);
  });
  return lines;
}

function coloured(line) {
  const parts = [line.match(/^ */)[0]];
  const tokens = tokensOf(line);
  tokens.forEach((token, at) => {
    const isName = token[0] === '"' && tokens[at + 1] === ":";
    const kind = isName ? "name" : token[0] === '"' ? "text" : /^[-\d]/.test(token) ? "number" : /^[a-z]/.test(token) ? "word" : null;
    parts.push(kind ? el("span", { class: `j-${kind}` }, token) : token === ":" ? ": " : token);
  });
  return parts;
}

export class Json {
  constructor(text) {
    this.lines = linesOf(text);
    this.folded = new Set();
    this.most = SHOWN_LINES;
    this.found = [];
    this.at = -1;
    this.body = el("div", { class: "value json", id: "value", tabindex: "0", role: "region", "aria-label": "Value as JSON" });
    this.input = el("input", { type: "search", placeholder: "Search in the value", "aria-label": "Search in the value", id: "value-search", autocomplete: "off",
      on: { input: () => this.search(), keydown: (event) => event.key === "Enter" && (event.preventDefault(), this.next(event.shiftKey ? -1 : 1)) } });
    this.says = el("span", { class: "note", role: "status" });
    const button = (label, press) => el("button", { type: "button", class: "small", onclick: press }, label);
    this.element = [el("div", { class: "value-tools" }, this.input, this.says, button("Next", () => this.next(1)), el("span", { class: "grow" }),
      button("Fold all", () => this.foldAll(true)), button("Unfold all", () => this.foldAll(false))), this.body];
    this.draw();
  }

  foldAll(isFolded) {
    this.folded.clear();
    if (isFolded) this.lines.forEach(({ end }, at) => end !== null && at > 0 && this.folded.add(at));
    this.draw();
  }

  search() {
    const text = this.input.value.toLowerCase();
    this.found = text ? this.lines.flatMap((line, at) => (line.text.toLowerCase().includes(text) ? [at] : [])) : [];
    this.at = -1;
    if (text && this.found.length) this.next(1);
    else this.draw();
    this.says.textContent = text ? (this.found.length ? `1 of ${count(this.found.length)}` : "not found") : "";
  }

  next(step) {
    if (!this.found.length) return;
    this.at = (this.at + step + this.found.length) % this.found.length;
    const line = this.found[this.at];
    for (const start of [...this.folded]) if (start < line && this.lines[start].end >= line) this.folded.delete(start);
    this.most = Math.max(this.most, line + SHOWN_LINES);
    this.draw();
    this.says.textContent = `${this.at + 1} of ${count(this.found.length)}`;
    this.body.querySelector(".here")?.scrollIntoView({ block: "nearest" });
  }

  draw() {
    const rows = [];
    const found = new Set(this.found);
    let at = 0;
    for (; at < this.lines.length && rows.length < this.most; at += 1) {
      const { text, end } = this.lines[at];
      const start = at;
      const isFolded = this.folded.has(start);
      const fold = end === null ? el("i", { class: "fold" }) : el("button", {
        type: "button", class: "fold", "aria-expanded": String(!isFolded), "aria-label": `Line ${start + 1}`,
        onclick: () => (isFolded ? this.folded.delete(start) : this.folded.add(start), this.draw(), this.body.querySelector(`[aria-label="Line ${start + 1}"]`)?.focus()),
      });
      const rest = isFolded ? [el("span", { class: "note" }, ` … ${plural(end - start - 1, "line")} `), this.lines[end].text.trim()] : [];
      rows.push(el("div", { class: `l${found.has(start) ? " hit" : ""}${this.found[this.at] === start ? " here" : ""}` }, el("span", { class: "no", "aria-hidden": "true" }, String(start + 1)), fold, el("code", {}, coloured(text), rest)));
      if (isFolded) at = end;
    }
    if (at < this.lines.length) rows.push(el("button", { type: "button", class: "quiet", onclick: () => ((this.most += SHOWN_LINES), this.draw()) }, `Show more of ${count(this.lines.length)} lines`));
    const { scrollTop } = this.body;
    this.body.replaceChildren(...rows);
    this.body.scrollTop = scrollTop;
  }
}
