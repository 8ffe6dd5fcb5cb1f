// The console: one request at a time, as it goes out and as it comes back.

import { keyPath, options, send, token, withQuery } from "./api.js";
import { hexDump, isJson, pretty, textOf } from "./bytes.js";
import { button, copy, el, field, tell } from "./ui.js";
import { bytes, ms } from "./format.js";

const KEPT = 20;
const SHOWN_BYTES = 64 << 10;

const OPERATIONS = {
  GET: { method: "GET", path: (key) => keyPath(key), says: "reads a key" },
  SET: { method: "PUT", path: (key) => `${keyPath(key)}?upsert=true`, value: true, says: "adds a key, or gives it a new value" },
  UPDATE: { method: "PUT", path: (key) => keyPath(key), value: true, says: "gives a key that is there a new value" },
  DELETE: { method: "DELETE", path: (key) => keyPath(key), says: "deletes a key" },
  LIST: { method: "GET", path: (prefix) => withQuery("kv/", { prefix: prefix || null }), says: "lists keys that begin with what stands in the key's field" },
};

export class Console {
  constructor() {
    this.key = el("input", { type: "text", id: "console-key", autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
    this.value = el("textarea", { id: "console-value", rows: "4", spellcheck: "false", autocapitalize: "none" });
    const buttons = Object.entries(OPERATIONS).map(([name, { says }]) =>
      button(name, () => this.run(name), { "data-operation": name, title: says, class: name === "DELETE" ? "danger" : "" }));
    this.output = el("div", { class: "output", id: "output" });
    const form = el("form", { class: "card ask", on: { submit: (event) => (event.preventDefault(), this.run("GET").catch(tell)) } },
      field("Key", this.key, "For LIST, the beginning of keys."),
      field("Value", this.value, "For SET and UPDATE."),
      el("div", { class: "buttons", role: "group", "aria-label": "Operation" }, buttons));
    this.element = el("div", { class: "console" }, form, el("section", { "aria-label": "Answers", "aria-live": "polite" }, this.output));
  }

  async show() {}

  hide() {}

  async run(name) {
    const operation = OPERATIONS[name];
    if (name !== "LIST" && this.key.value === "") {
      this.key.focus();
      throw new Error("Say which key.");
    }
    const path = operation.path(this.key.value);
    const given = operation.value ? { body: this.value.value, type: "application/octet-stream" } : {};
    const line = curl(operation.method, path, given);
    const began = performance.now();
    const response = await send(path, options(operation.method, given));
    const body = new Uint8Array(await response.arrayBuffer());
    this.add(name, line, response, body, performance.now() - began);
  }

  add(name, line, response, body, took) {
    const headers = [...response.headers].map(([field, value]) => `${field}: ${value}`).join("\n");
    const isGood = response.ok;
    // What a redirect says is not for pages to read.
    const status = response.type === "opaqueredirect" ? "307 to the primary" : `${response.status} ${response.statusText}`;
    const answer = el("article", { class: "answer card" },
      el("div", { class: "line" },
        el("strong", {}, name), el("span", { class: `status ${isGood ? "good" : "bad"}` }, status),
        el("span", { class: "took" }, ms(took)), el("span", { class: "took" }, bytes(body.length))),
      el("div", { class: "curl" }, el("code", {}, line), button("Copy", () => copy(line), { class: "quiet", "aria-label": "Copy the curl line" })),
      el("details", {}, el("summary", {}, "Headers"), el("pre", { class: "headers" }, headers)),
      body.length ? el("pre", { class: "body", tabindex: "0", "aria-label": "Body" }, shown(body)) : el("p", { class: "note" }, "No body."));
    this.output.prepend(answer);
    while (this.output.childElementCount > KEPT) this.output.lastChild.remove();
  }
}

function shown(body) {
  const cut = body.length > SHOWN_BYTES;
  const part = body.subarray(0, SHOWN_BYTES);
  const text = textOf(part, cut);
  const form = text === null ? hexDump(part) : !cut && isJson(text) ? pretty(text) : text;
  return cut ? `${form}\n… ${bytes(body.length - SHOWN_BYTES)} more` : form;
}

/** A request as a line for a shell. The token stays out of it: lines are copied into places that others read. */
export function curl(method, path, { body, type } = {}) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const words = ["curl", "-i"];
  if (method !== "GET") words.push("-X", method);
  if (token()) words.push("-H", "\"Authorization: Bearer $PYKV_TOKEN\"");
  if (type) words.push("-H", quote(`Content-Type: ${type}`));
  if (body !== undefined) words.push("--data-raw", quote(body));
  words.push(quote(new URL(path, location.href).href));
  return words.join(" ");
}
