// The console: one request at a time, as it goes out and as it comes back.

import { getJson, options, send, withQuery } from "./api.js";
import { hexDump, isJson, oneLine, pretty, textOf } from "./bytes.js";
import { curl } from "./curl.js";
import { lifetime } from "./deadline.js";
import { BATCH_EXAMPLE, OPERATIONS } from "./requests.js";
import { button, copy, el, errorBox, field, tell } from "./ui.js";
import { isGateway, readOnly, state, writing } from "./state.js";
import { bytes, clock, ms } from "./format.js";

const ANSWERS_MAX = 20;
const REQUESTS_MAX = 50;
/** Longest value or batch that a past request is kept with. */
const VALUE_CHARS_MAX = 2000;
const SHOWN_BYTES = 64 << 10;
const WATCHED_LINES = 200;
const PAST = "pykv-console";
const TYPED = "pykv-console-typed";
const CONDITIONS = [["", "Always"], ["version", "Only if its version is"], ["there", "Only if it exists"], ["absent", "Only if it does not exist"]];

export class Console {
  constructor() {
    const text = (id) => el("input", { type: "text", id, autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
    this.key = text("console-key");
    this.by = text("console-by");
    this.by.value = "1";
    this.value = el("textarea", { id: "console-value", rows: "4", spellcheck: "false", autocapitalize: "none" });
    this.batch = el("textarea", { id: "console-batch", rows: "7", spellcheck: "false", autocapitalize: "none", value: BATCH_EXAMPLE });
    this.ttl = lifetime("Expires after");
    this.condition = el("select", { id: "console-condition", on: { change: () => this.choose(this.name) } }, CONDITIONS.map(([value, label]) => el("option", { value }, label)));
    this.version = text("console-version");
    this.version.setAttribute("aria-label", "Version");
    this.parts = {
      key: field("Key", this.key), value: field("Value", this.value), by: field("Add", this.by), batch: field("Operations", this.batch), ttl: this.ttl.element,
      condition: el("div", { class: "pair" }, field("Do it", this.condition), this.version),
    };
    this.choice = el("div", { class: "operations", role: "group", "aria-label": "Operation" }, Object.entries(OPERATIONS).map(([name, { isWrite }]) => {
      const made = el("button", { type: "button", "data-operation": name, onclick: () => (this.choose(name), this.keep()) }, name);
      return isWrite ? writing(made) : made;
    }));
    this.says = el("p", { class: "note", id: "console-says" });
    this.submit = el("button", { class: "primary", id: "console-send" }, "Send");
    this.output = el("div", { class: "output", id: "output" });
    this.past = el("ol", { class: "past", id: "console-past" });
    this.replaced = el("p", { class: "draft-note", id: "console-replaced", hidden: true });
    const form = el("form", { class: "card ask", on: { submit: (event) => (event.preventDefault(), this.sent()), keydown: (event) => this.pressed(event), input: () => this.typed() } },
      this.choice, this.says, this.replaced, Object.values(this.parts), el("div", { class: "buttons left" }, this.submit, el("span", { class: "note" }, "Enter, or Ctrl+Enter in a text")));
    const history = el("section", { class: "card", "aria-label": "Past requests" }, el("div", { class: "head" }, el("h3", {}, "Past requests"), el("span", { class: "grow" }),
      button("Clear", () => this.forget(), { class: "small", id: "console-clear" })), this.past, el("p", { class: "note" }, "Kept in this browser, without tokens."));
    this.element = el("div", { class: "console" }, el("div", { class: "stack" }, form, history), el("section", { "aria-label": "Answers", "aria-live": "polite" }, this.output));
    this.requests = load();
    this.choose("GET");
    this.begun = this.fields();
    this.place(typedBefore() ?? this.begun);
    this.drawPast();
    state.addEventListener("status", () => this.offer());
    this.offer();
  }

  /** A gateway has no changes to watch. */
  offer() {
    for (const one of this.choice.children) one.hidden = isGateway() && Boolean(OPERATIONS[one.dataset.operation].isWatch);
    if (isGateway() && OPERATIONS[this.name].isWatch) this.choose("GET");
  }

  async show() {}

  hide() {
    this.stopWatch?.();
  }

  /** Marks an operation, which Enter and Send do. */
  choose(name) {
    this.name = name;
    const { fields, says } = OPERATIONS[name];
    for (const one of this.choice.children) one.setAttribute("aria-pressed", String(one.dataset.operation === name));
    for (const [part, element] of Object.entries(this.parts)) element.hidden = !fields.includes(part);
    this.version.hidden = this.condition.value !== "version";
    this.says.textContent = says;
    this.submit.textContent = name === "WATCH" ? "Start watching" : `Send ${name}`;
    this.submit.classList.toggle("danger", name === "DELETE");
  }

  pressed(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.sent();
    }
  }

  sent() {
    this.element.querySelectorAll(".ask .wrong.inline").forEach((old) => old.remove());
    this.run(this.fields()).catch((error) => tell(error, this.submit));
  }

  fields() {
    return { name: this.name, key: this.key.value, value: this.value.value, by: this.by.value, batch: this.batch.value, ttl: this.ttl.number.value, unit: this.ttl.unit.value, condition: this.condition.value, version: this.version.value };
  }

  /** Puts the fields of a past request in place. What was typed and never sent can be had back. */
  fill(given) {
    const typed = this.fields();
    const isSent = [given, this.begun, ...this.requests].some((other) => isSame(other, typed));
    this.place(given);
    if (!isSent) {
      this.replaced.replaceChildren("This is in the place of what you typed. ", button("Put it back", () => this.place(typed), { class: "small", id: "put-back" }));
      this.replaced.hidden = false;
    }
  }

  typed() {
    this.replaced.hidden = true;
    this.keep();
  }

  /** Keeps what is typed for as long as the tab lives. */
  keep() {
    try {
      sessionStorage.setItem(TYPED, JSON.stringify(this.fields()));
    } catch {
      // It is too long to be kept over a reload; an older text would pass for it.
      sessionStorage.removeItem(TYPED);
    }
  }

  place(given) {
    [this.key.value, this.value.value, this.by.value, this.batch.value] = [given.key, given.value, given.by, given.batch];
    [this.ttl.number.value, this.ttl.unit.value, this.condition.value, this.version.value] = [given.ttl, given.unit, given.condition, given.version];
    this.choose(given.name);
    this.typed();
  }

  async run(given) {
    const operation = OPERATIONS[given.name];
    if (operation.isWrite && readOnly()) throw new Error(readOnly());
    if (!operation.isOpen && given.key === "") {
      this.key.focus();
      throw new Error("Enter a key.");
    }
    this.fill(given);
    const headers = { version: { "If-Match": `"${given.version.trim()}"` }, there: { "If-Match": "*" }, absent: { "If-None-Match": "*" } }[operation.fields.includes("condition") ? given.condition : ""] ?? {};
    const request = operation.ask({ ...given, headers, ttl: operation.fields.includes("ttl") ? this.ttl.seconds() : null });
    this.remember(given);
    const line = curl(request.method, request.path, request);
    if (operation.isWatch) return this.watch(given, line);
    const begun = performance.now();
    const response = await send(request.path, options(request.method, request));
    const body = new Uint8Array(await response.arrayBuffer());
    this.add(given, line, response, body, performance.now() - begun);
  }

  add(given, line, response, body, took) {
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    // What a redirect says is not for pages to read.
    const status = response.type === "opaqueredirect" ? "307 to the primary" : `${response.status} ${response.statusText}`;
    this.card(given, line, [el("span", { class: `status ${response.ok ? "good" : "bad"}` }, status), el("span", { class: "took" }, ms(took)), el("span", { class: "took" }, bytes(body.length))],
      response.type === "opaqueredirect" ? el("p", { class: "note" }, readOnly() ?? "", " A batch that reads alone is answered here.") : null,
      el("details", {}, el("summary", {}, "Headers"), el("pre", { class: "headers" }, headers)),
      body.length ? el("pre", { class: "body", tabindex: "0", role: "region", "aria-label": "Body" }, shown(body)) : el("p", { class: "note" }, "No body."));
  }

  card(given, line, facts, ...content) {
    const card = el("article", { class: "answer card" },
      el("div", { class: "line" }, el("strong", {}, given.name), el("code", { class: "of" }, oneLine(given.name === "BATCH" ? "" : given.key)), facts, el("span", { class: "grow" }),
        el("span", { class: "note" }, clock(Date.now())), button("Repeat", () => this.run(given), { class: "small", "data-repeat": "" })),
      el("div", { class: "curl" }, el("code", {}, line), button("Copy", () => copy(line), { class: "small", "aria-label": "Copy the curl line" })), content);
    this.output.prepend(card);
    while (this.output.childElementCount > ANSWERS_MAX) this.output.lastChild.remove();
    return card;
  }

  /** Shows changes as they come, until it is stopped or another view is shown. */
  async watch(given, line) {
    this.stopWatch?.();
    const stopper = new AbortController();
    const lines = el("pre", { class: "body", tabindex: "0", role: "region", "aria-label": "Changes" });
    const says = el("span", { class: "status good" }, "watching");
    const stop = button("Stop", () => this.stopWatch?.(), { class: "small" });
    const card = this.card(given, line, [says, stop], lines);
    this.stopWatch = () => {
      stopper.abort();
      says.textContent = "stopped";
      stop.remove();
      this.stopWatch = null;
    };
    let after = null;
    try {
      while (!stopper.signal.aborted && card.isConnected) {
        const answer = await getJson(withQuery("watch", { prefix: given.key || null, after, wait: after === null ? 0 : 20 }), { signal: stopper.signal });
        after = `${answer.log}-${answer.next}`;
        for (const change of answer.changes) lines.prepend(`${clock(change.timestamp)} ${change.operation.padEnd(6)} ${oneLine(change.key)}${change.value === undefined ? "" : ` = ${change.value.slice(0, 200)}`}\n`);
        while (lines.childNodes.length > WATCHED_LINES) lines.lastChild.remove();
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      this.stopWatch?.();
      card.append(errorBox(error));
    }
  }

  remember(given) {
    // A long one is kept without its text: a part of that must not be sent again as if it were all.
    const isLong = Math.max(given.value.length, given.batch.length) > VALUE_CHARS_MAX;
    const kept = isLong ? { ...given, value: "", batch: "", isLong } : given;
    const same = JSON.stringify(kept);
    this.requests = [kept, ...this.requests.filter((other) => JSON.stringify(other) !== same)].slice(0, REQUESTS_MAX);
    keep(this.requests);
    this.drawPast();
  }

  drawPast() {
    this.past.replaceChildren(...this.requests.map((given) => el("li", {}, el("button", { type: "button", class: "quiet", onclick: () => this.fill(given) }, el("strong", {}, given.name), " ", oneLine(given.name === "BATCH" ? "" : given.key)),
      button("Repeat", () => this.run(given), { class: "small", disabled: Boolean(given.isLong), title: given.isLong ? "What it sent is too long to be kept" : "", "aria-label": `Repeat ${given.name} ${oneLine(given.key)}` }))));
    this.past.parentElement?.toggleAttribute("hidden", this.requests.length === 0);
  }

  forget() {
    this.requests = [];
    keep([]);
    this.drawPast();
    this.output.replaceChildren();
  }
}

/** Whether two requests have the same fields, but for the operation, which is no text that could be lost. */
const isSame = (one, other) => ["key", "value", "by", "batch", "ttl", "condition", "version"].every((field) => one[field] === other[field]);

function typedBefore() {
  try {
    const typed = JSON.parse(sessionStorage.getItem(TYPED));
    return OPERATIONS[typed?.name] ? typed : null;
  } catch {
    return null;
  }
}

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(PAST) ?? "[]");
    return Array.isArray(kept) ? kept.filter((given) => OPERATIONS[given?.name]) : [];
  } catch {
    return [];
  }
}

function keep(requests) {
  try {
    if (requests.length) localStorage.setItem(PAST, JSON.stringify(requests));
    else localStorage.removeItem(PAST);
  } catch {
    // A browser that keeps nothing has no history.
  }
}

function shown(body) {
  const cut = body.length > SHOWN_BYTES;
  const part = body.subarray(0, SHOWN_BYTES);
  const text = textOf(part, cut);
  const form = text === null ? hexDump(part) : !cut && isJson(text) ? pretty(text) : text;
  return cut ? `${form}\n… ${bytes(body.length - SHOWN_BYTES)} more` : form;
}
