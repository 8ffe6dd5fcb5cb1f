// One entry: its value to look at and to edit, its version, size and deadline.

import { keyPath, request, sendJson } from "./api.js";
import { bytesOfHex, hexDump, hexOf, isJson, lineEnd, payloadOf, pretty, textOf } from "./bytes.js";
import { askConflict, deleteKey, lifetime, typedBytes } from "./changes.js";
import { button, dialog, el, save, tell, toast } from "./ui.js";
import { bytes, count, span } from "./format.js";

/** What is shown of a value at first. */
const SHOWN_BYTES = 64 << 10;

/** What is edited in a text field at most. */
const EDITED_BYTES_MAX = 1 << 20;

/** Clocks that differ by less are taken for the same: the node tells its own in whole seconds. */
const CLOCK_SKEW_MS_MIN = 2000;

export class Entry {
  constructor({ close, added, removed }) {
    this.close = close;
    this.added = added;
    this.removed = removed;
    this.key = null;
    this.form = null;
    this.element = el("section", { class: "entry card", "aria-label": "Entry", id: "entry" });
    this.timer = null;
    this.blank();
  }

  blank(text = "Choose a key to see its value.") {
    this.rest();
    this.editor = null;
    this.element.replaceChildren(el("p", { class: "blank" }, text));
  }

  /** Stops what goes on while the entry is not seen. */
  rest() {
    this.stop?.abort();
    clearInterval(this.timer);
  }

  again() {
    // What is being typed is not thrown away.
    if (this.key !== null && !this.editor) this.show(this.key).catch(tell);
  }

  async show(key) {
    if (key !== this.key) this.form = null;
    if (key === this.key && this.editor) return;
    this.key = key;
    if (key === null) return this.blank();
    this.rest();
    this.editor = null;
    this.stop = new AbortController();
    const { signal } = this.stop;
    try {
      const entry = await read(key, SHOWN_BYTES, signal);
      if (signal.aborted) return;
      this.entry = entry;
      this.draw();
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      if (error.status !== 404) {
        this.blank(error.message);
        throw error;
      }
      this.removed(key);
      this.blank("This key is not there.");
    }
  }

  /** The whole value, asked for where only a part is here; it may be another version by then. */
  async whole() {
    if (this.entry.cut) this.entry = await read(this.key, Infinity);
    return this.entry.value;
  }

  draw() {
    const { entry } = this;
    const text = textOf(entry.value, entry.cut);
    const forms = [["text", "Text", text !== null], ["json", "JSON", !entry.cut && isJson(text)], ["hex", "Hex", true]];
    const can = (form) => forms.some(([name, , possible]) => name === form && possible);
    if (!this.form || !can(this.form)) this.form = can("json") ? "json" : can("text") ? "text" : "hex";
    this.deadline = el("dd", { id: "deadline" });
    const facts = el("dl", { class: "facts" },
      el("div", {}, el("dt", {}, "Version"), el("dd", { id: "version" }, String(entry.version))),
      el("div", {}, el("dt", {}, "Size"), el("dd", { id: "size", title: `${count(entry.size)} bytes` }, bytes(entry.size))),
      el("div", {}, el("dt", {}, "Expires"), this.deadline));
    const choice = el("div", { class: "choice", role: "group", "aria-label": "Shown as" },
      forms.map(([name, label, possible]) => el("button", {
        type: "button", disabled: !possible, "aria-pressed": String(this.form === name), "data-form": name,
        onclick: () => {
          this.form = name;
          this.draw();
          this.element.querySelector(`[data-form="${name}"]`).focus();
        },
      }, label)));
    const tools = el("div", { class: "tools" }, choice, el("div", { class: "buttons" },
      button("Edit", () => this.edit(), { id: "edit" }),
      button("Expires…", () => this.expire(), { id: "expire" }),
      button("Download", () => this.download(), { id: "download" }),
      button("Delete", () => this.remove(), { id: "delete", class: "danger" })));
    this.place = el("div", { class: "place" });
    this.element.replaceChildren(
      el("div", { class: "title" }, button("‹ Keys", () => this.close(), { class: "back quiet" }), el("h2", { id: "entry-key" }, this.key)),
      facts, tools, this.place);
    this.drawValue(text);
    this.count();
    clearInterval(this.timer);
    if (entry.deadline) this.timer = setInterval(() => this.count(), 1000);
  }

  drawValue(text) {
    const { entry, form } = this;
    const part = form === "hex" ? entry.value.subarray(0, SHOWN_BYTES) : entry.value;
    const shown = form === "hex" ? hexDump(part) : form === "json" ? pretty(text) : text;
    const parts = [el("pre", { class: `value ${form}`, id: "value", tabindex: "0", "aria-label": "Value" }, shown)];
    if (entry.size === 0) parts.push(el("p", { class: "note" }, "The value is empty."));
    if (entry.cut) {
      parts.unshift(el("p", { class: "note", id: "cut" }, `The first ${bytes(entry.value.length)} of ${bytes(entry.size)}. `,
        button("Load all", async () => (await this.whole(), this.draw()), { id: "load-all" })));
    } else if (part.length < entry.size) {
      parts.unshift(el("p", { class: "note" }, `The first ${bytes(part.length)} of ${bytes(entry.size)} in hex; a download has all.`));
    }
    this.place.replaceChildren(...parts);
  }

  /** Tells how long the key has. */
  count() {
    const { deadline, skew } = this.entry;
    if (!deadline) {
      this.deadline.textContent = "never";
      return;
    }
    const left = (deadline - Date.now() - skew) / 1000;
    this.deadline.textContent = left > 0 ? `in ${span(left)}` : "now";
    this.deadline.title = new Date(deadline).toLocaleString();
    if (left <= -1 && !this.editor) {
      clearInterval(this.timer);
      this.again();
    }
  }

  async edit() {
    if (this.entry.size > EDITED_BYTES_MAX) {
      throw new Error(`A value of ${bytes(this.entry.size)} is too large to edit here. Download it, and send it with pykv set --file.`);
    }
    const value = await this.whole();
    const text = textOf(value);
    const end = text === null ? null : lineEnd(text);
    const form = end === null ? "hex" : this.form;
    const start = form === "hex" ? hexOf(value) : form === "json" ? pretty(text) : text;
    const area = el("textarea", { class: "value", id: "editor", spellcheck: "false", autocapitalize: "none", "aria-label": "Value", value: start, rows: "16" });
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saving.click();
      if (event.key === "Escape") leave();
    });
    const leave = () => {
      this.editor = null;
      this.draw();
      document.getElementById("edit")?.focus();
    };
    const typed = () => {
      if (form !== "hex") return typedBytes(area.value, end);
      const given = bytesOfHex(area.value);
      if (given === null) throw new Error("Hex is pairs of the digits 0 to 9 and a to f.");
      return given;
    };
    const saving = button("Save", () => {
      if (form === "json" && !isJson(area.value)) throw new Error("This is not JSON. To save it as it is, edit it as text.");
      return this.save(typed());
    }, { class: "primary", id: "save" });
    this.editor = area;
    for (const control of this.element.querySelectorAll(".tools button")) control.disabled = true;
    this.place.replaceChildren(...(form !== this.form ? [el("p", { class: "note" }, "Its ends of lines are of several kinds, or it is no text: it is edited in hex.")] : []),
      area, el("div", { class: "buttons" }, button("Cancel", leave), saving));
    area.focus();
  }

  /** Saves, if the entry is still what was seen; if not, shows both and asks. */
  async save(value) {
    const { key, entry } = this;
    const keep = entry.deadline ? { expires_at_ms: entry.deadline } : {};
    const put = (version) => sendJson("PUT", keyPath(key), { ...payloadOf(value), ...keep }, { headers: { "If-Match": `"${version}"` } });
    let { version } = entry;
    for (;;) {
      try {
        await put(version);
        break;
      } catch (error) {
        if (error.status !== 412 && error.status !== 404) throw error;
        const theirs = await read(key, Infinity).catch((failed) => {
          if (failed.status === 404) return null;
          throw failed;
        });
        const choice = await askConflict(value, theirs?.value ?? null);
        if (choice === null) return;
        if (choice === "theirs") return this.seen();
        if (theirs === null) {
          await sendJson("POST", "kv/", { key, ...payloadOf(value) });
          this.added(key);
          break;
        }
        version = theirs.version;
      }
    }
    toast("Saved.");
    await this.seen();
    document.getElementById("edit")?.focus();
  }

  /** Leaves the editor and shows what is there. */
  async seen() {
    this.editor = null;
    await this.show(this.key);
  }

  async expire() {
    const ttl = lifetime("Expires in");
    let seconds = null;
    const check = (choice) => {
      if (choice === "never") return null;
      try {
        seconds = ttl.seconds();
        return seconds === null ? "Say how long it has." : null;
      } catch (error) {
        return error.message;
      }
    };
    const choices = [{ label: "Cancel", value: null }, { label: "Set", value: "set", kind: "primary" }, { label: "Never expires", value: "never" }];
    const choice = await dialog("When does it expire?", ttl.element, choices, { check });
    if (choice === null) return;
    const headers = { "If-Match": `"${this.entry.version}"` };
    try {
      await sendJson("PATCH", keyPath(this.key), { ttl: choice === "never" ? null : seconds }, { headers });
    } catch (error) {
      if (error.status === 412) toast("Someone has changed this key meanwhile; here it is.", { kind: "bad" });
      else throw error;
    }
    await this.show(this.key);
    document.getElementById("expire")?.focus();
  }

  async remove() {
    const { key } = this;
    const deleted = await deleteKey({ key, ...this.entry }, () => this.whole(), {
      removed: this.removed,
      added: (back) => {
        this.added(back);
        if (this.key === back) this.show(back).catch(tell);
      },
    });
    if (deleted && this.key === key) this.blank("This key was deleted.");
  }

  async download() {
    const name = this.key.split("/").pop().replace(/[^\w.-]+/g, "_") || "value";
    save(new Blob([await this.whole()], { type: "application/octet-stream" }), name);
  }
}

/** An entry, with no more of its value than `most` bytes. */
async function read(key, most, signal) {
  const response = await request("GET", `${keyPath(key)}?raw`, { signal });
  const size = Number(response.headers.get("Content-Length"));
  const value = size > most ? await beginning(response, most) : new Uint8Array(await response.arrayBuffer());
  const expires = response.headers.get("Pykv-Expires-At");
  const skew = Date.parse(response.headers.get("Date")) - Date.now();
  return {
    key,
    value,
    size,
    cut: value.length < size,
    version: Number(response.headers.get("ETag").replaceAll('"', "")),
    deadline: expires ? Date.parse(expires) : null,
    skew: Math.abs(skew) >= CLOCK_SKEW_MS_MIN ? skew : 0,
  };
}

async function beginning(response, most) {
  const value = new Uint8Array(most);
  const reader = response.body.getReader();
  let filled = 0;
  while (filled < most) {
    const { done, value: piece } = await reader.read();
    if (done) break;
    const part = piece.subarray(0, most - filled);
    value.set(part, filled);
    filled += part.length;
  }
  reader.cancel().catch(() => {});
  return value.subarray(0, filled);
}
