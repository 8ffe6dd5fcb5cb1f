// One entry: its value to look at and to edit, its version, size and deadline.

import { keyPath, request, sendJson } from "./api.js";
import { hexDump, isCounter, isJson, oneLine, textOf } from "./bytes.js";
import { copyKey, deleteKey } from "./changes.js";
import { curl } from "./curl.js";
import { askDeadline } from "./deadline.js";
import { draftOf, dropDraft } from "./drafts.js";
import { Editor, checkEditable } from "./editor.js";
import { Json } from "./json.js";
import { read } from "./read.js";
import { writeButton } from "./state.js";
import { button, copy, el, errorBox, menu, save, tell, toast } from "./ui.js";
import { ago, bytes, count, moment, span } from "./format.js";

/** What is shown of a value at first. */
const SHOWN_BYTES = 64 << 10;
/** A value that others change all the time is read so often at most: a read makes it the most recently used. */
const REREAD_MS = 1000;
const NARROW_PX = 520;
/** A longer value would keep the browser busy for seconds, whenever a part of it is folded. */
const FOLDED_BYTES_MAX = 4 << 20;

export class Entry {
  constructor({ close, changed, moved, create, blank }) {
    Object.assign(this, { close, changed, moved, create, blankElement: blank });
    this.key = null;
    this.form = null;
    this.editor = null;
    this.isWrapped = true;
    this.element = el("section", { class: "entry card", "aria-label": "Entry", id: "entry" });
    this.blank();
  }

  blank(...content) {
    this.rest();
    this.editor = null;
    this.entry = null;
    this.element.replaceChildren(...(content.length ? [this.back(), el("div", { class: "blank" }, content)] : [this.blankElement]));
  }

  back() {
    return button("‹ Keys", () => this.close(), { class: "back quiet" });
  }

  /** Stops what is under way while the entry is not seen. */
  rest() {
    this.stop?.abort();
    clearInterval(this.timer);
    clearTimeout(this.rereading);
    this.rereading = null;
  }

  again() {
    // What is being typed is not thrown away.
    if (this.key !== null && !this.editor) this.show(this.key).catch(tell);
  }

  async show(key) {
    if (key !== this.key) this.form = this.changedAt = null;
    if (key === this.key && this.editor) return this.tick();
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
      if (error.status !== 404) return this.blank(errorBox(error));
      this.missing("This key does not exist.");
    }
  }

  missing(says) {
    const { key } = this;
    const draft = draftOf(key);
    this.blank(el("h2", { id: "entry-key" }, oneLine(key)), el("p", {}, says),
      draft ? el("p", { class: "note" }, "Your draft of it is kept: ", button("Copy the draft", () => copy(draft.text), { class: "small" }), " ", button("Discard", () => (dropDraft(key), this.missing(says)), { class: "small" })) : null,
      writeButton("Create it…", () => this.create(key, draft?.form === "text" ? draft : null), { class: "primary", id: "create" }));
  }

  /** Somebody has changed the key that is open, or nobody knows whether. */
  changedOutside(change) {
    if (!this.entry || change?.version <= this.entry.version) return;
    if (this.editor) {
      if (change) this.editor.overtaken(/DELETE|EVICT|EXPIRE/.test(change.operation));
      return;
    }
    this.rereading ??= setTimeout(async () => {
      this.rereading = null;
      const before = this.entry?.version;
      const { key } = this;
      const head = await request("HEAD", keyPath(key), { quiet: true }).catch((error) => (error.status === 404 ? null : undefined));
      if (head === undefined || key !== this.key || this.editor) return;
      if (head && Number(head.headers.get("ETag").replaceAll('"', "")) === before) return;
      if (!head) return this.missing("This key was deleted, dropped, or has expired.");
      this.changedAt = Date.now();
      this.show(key).catch(tell);
    }, REREAD_MS);
  }

  /** The whole value, asked for where only a part is here; it may be another version by then. */
  async whole() {
    if (this.entry.cut) this.entry = await read(this.key, Infinity);
    return this.entry.value;
  }

  draw() {
    const { entry } = this;
    const text = textOf(entry.value, entry.cut);
    const noJson = entry.cut ? "Load all of it first." : entry.size > FOLDED_BYTES_MAX ? `More than ${bytes(FOLDED_BYTES_MAX)} are too much to fold here.` : isJson(text) ? null : "The value is no JSON.";
    const forms = [["text", "Text", text !== null, "The value is binary."], ["json", "JSON", noJson === null, noJson], ["hex", "Hex", true]];
    const can = (form) => forms.some(([name, , possible]) => name === form && possible);
    if (!this.form || !can(this.form)) this.form = can("json") ? "json" : can("text") ? "text" : "hex";
    this.deadline = el("dd", { id: "deadline" });
    this.changedFact = el("dd", { id: "changed" });
    const fact = (name, value) => el("div", {}, el("dt", {}, name), value);
    const facts = el("dl", { class: "facts" },
      fact("Size", el("dd", { id: "size", title: `${count(entry.size)} bytes` }, bytes(entry.size))), fact("Expires", this.deadline),
      fact("Version", el("dd", { id: "version" }, String(entry.version))), this.changedAt ? fact("Changed", this.changedFact) : null);
    const choice = el("div", { class: "choice", role: "group", "aria-label": "Shown as" },
      forms.map(([name, label, possible, why]) => el("button", {
        type: "button", disabled: !possible, title: possible ? null : why, "aria-pressed": String(this.form === name), "data-form": name,
        onclick: () => {
          this.form = name;
          this.draw();
          this.element.querySelector(`[data-form="${name}"]`).focus();
        },
      }, label)));
    const copies = menu("Copy", [
      button("Key", () => copy(this.key)), button("Value", async () => copy(this.textOf(await this.whole()))),
      button("curl line", () => copy(curl("GET", `${keyPath(this.key)}?raw`))), button("Link", () => copy(location.href))], { id: "copy" });
    const more = menu("More", [
      writeButton("Rename…", () => this.rename(true), { id: "rename" }), writeButton("Duplicate…", () => this.rename(false), { id: "duplicate" }),
      button("Download", () => this.download(), { id: "download" })], { id: "entry-menu" });
    const counter = !entry.cut && isCounter(text) ? el("div", { class: "choice counter", role: "group", "aria-label": "Counter" },
      writeButton("− 1", () => this.increment(-1), { id: "decrement" }), writeButton("+ 1", () => this.increment(1), { id: "increment" })) : null;
    const tools = el("div", { class: "tools" }, choice, counter, el("span", { class: "grow" }), el("div", { class: "buttons" },
      writeButton("Edit", () => this.edit(), { id: "edit", class: "primary" }), writeButton("Expires…", () => this.expire(), { id: "expire" }), copies, more,
      writeButton("Delete", () => this.remove(), { id: "delete", class: "danger" })));
    this.place = el("div", { class: "place" });
    const draft = draftOf(this.key);
    const note = draft ? el("p", { class: "draft-note", id: "draft" }, el("span", {}, "You have a draft of this key that is not saved."),
      writeButton("Continue editing", () => this.edit(), { class: "small", id: "continue" }), button("Discard", () => (dropDraft(this.key), this.draw()), { class: "small" })) : null;
    this.element.replaceChildren(this.back(), el("div", { class: "title" }, el("h2", { id: "entry-key", title: this.key, tabindex: "0" }, oneLine(this.key))), facts, tools, ...(note ? [note] : []), this.place);
    this.drawValue(text);
    this.tick();
  }

  textOf(value) {
    return textOf(value) ?? hexDump(value);
  }

  drawValue(text) {
    const { entry, form } = this;
    const isNarrow = this.element.clientWidth < NARROW_PX;
    const part = form === "hex" ? entry.value.subarray(0, SHOWN_BYTES) : entry.value;
    const parts = form === "json" ? [...new Json(text).element] : [
      form === "text" ? el("div", { class: "value-tools" }, el("span", { class: "grow" }), el("label", { class: "check" }, el("input", {
        type: "checkbox", checked: this.isWrapped, id: "wrap", on: { change: (event) => ((this.isWrapped = event.target.checked), document.getElementById("value").classList.toggle("unwrapped", !this.isWrapped)) } }), " Wrap lines")) : null,
      el("pre", { class: `value ${form}${form === "text" && !this.isWrapped ? " unwrapped" : ""}`, id: "value", tabindex: "0", role: "region", "aria-label": "Value" }, form === "hex" ? hexDump(part, isNarrow ? 8 : 16) : text)].filter(Boolean);
    if (entry.size === 0) parts.push(el("p", { class: "note" }, "The value is empty."));
    if (entry.cut) {
      parts.unshift(el("p", { class: "note", id: "cut" }, `The first ${bytes(entry.value.length)} of ${bytes(entry.size)}. `, button("Load all", async () => (await this.whole(), this.draw()), { id: "load-all", class: "small" })));
    } else if (part.length < entry.size) {
      parts.unshift(el("p", { class: "note" }, `The first ${bytes(part.length)} of ${bytes(entry.size)} in hex; a download has all.`));
    }
    this.place.replaceChildren(...parts);
  }

  /** Keeps telling how long the key has, and how long ago it changed. */
  tick() {
    clearInterval(this.timer);
    this.count();
    if (this.entry?.deadline || this.changedAt) this.timer = setInterval(() => this.count(), 1000);
  }

  count() {
    if (!this.entry) return;
    const { deadline, skew } = this.entry;
    if (this.changedAt) this.changedFact.textContent = ago(this.changedAt);
    const left = (deadline - Date.now() - skew) / 1000;
    this.deadline.textContent = !deadline ? "never" : left > 0 ? `in ${span(left)}` : "now";
    if (deadline) this.deadline.title = moment(deadline);
    if (deadline && left <= -1 && !this.editor) {
      clearInterval(this.timer);
      this.again();
    }
  }

  async edit() {
    checkEditable(this.entry.size);
    await this.whole();
    const left = async (isOther) => {
      this.editor = null;
      await (isOther ? this.show(this.key) : this.draw());
      if (isOther) this.changed();
      document.getElementById("edit")?.focus();
    };
    this.editor = new Editor({ entry: this.entry, form: this.form, draft: draftOf(this.key), left, added: this.changed });
    this.element.querySelectorAll(".tools, #draft").forEach((gone) => (gone.hidden = true));
    this.place.replaceChildren(...this.editor.element);
    this.editor.area.focus();
  }

  async expire() {
    const given = await askDeadline(this.entry.deadline);
    if (given === null) return;
    try {
      await sendJson("PATCH", keyPath(this.key), given, { headers: { "If-Match": `"${this.entry.version}"` } });
    } catch (error) {
      if (error.status !== 412) throw error;
      toast("Someone has changed this key meanwhile; here it is.");
    }
    await this.show(this.key);
    this.changed();
    document.getElementById("expire")?.focus();
  }

  async increment(by) {
    await sendJson("PATCH", keyPath(this.key), { increment: by });
    await this.show(this.key);
    document.getElementById(by > 0 ? "increment" : "decrement")?.focus();
  }

  async rename(isRename) {
    await this.whole();
    const to = await copyKey(this.entry, isRename);
    if (to === null) return;
    this.changed();
    this.moved(to);
  }

  async remove() {
    const { key } = this;
    const deleted = await deleteKey({ key, ...this.entry }, () => this.whole(), {
      removed: () => this.changed(),
      added: (back) => {
        this.changed();
        if (this.key === back) this.show(back).catch(tell);
      },
    });
    if (deleted && this.key === key) this.missing("This key was deleted.");
  }

  async download() {
    const name = this.key.split("/").pop().replace(/[^\w.-]+/g, "_") || "value";
    save(new Blob([await this.whole()], { type: "application/octet-stream" }), name);
  }
}
