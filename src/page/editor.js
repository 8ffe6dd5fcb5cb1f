// The editor of a value. What is typed is a draft of its key until it is saved or discarded.

import { keyPath, sendJson } from "./api.js";
import { bytesOfHex, compact, hexOf, isJson, lineEnd, payloadOf, pretty, textOf } from "./bytes.js";
import { askConflict, typedBytes } from "./changes.js";
import { dropDraft, keepDraft } from "./drafts.js";
import { read } from "./read.js";
import { writeButton } from "./state.js";
import { button, confirm, el, toast } from "./ui.js";
import { bytes } from "./format.js";

/** What is edited in a text field at most. */
export const EDITED_BYTES_MAX = 1 << 20;

const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

export class Editor {
  /** Edits an entry as "text" or "hex"; `draft` is what was typed before. `left` is called with whether it was saved. */
  constructor({ entry, form, draft, left, added }) {
    Object.assign(this, { entry, left, added, version: draft?.version ?? entry.version });
    const text = textOf(entry.value);
    this.end = draft ? draft.end : text === null ? null : lineEnd(text);
    this.form = draft ? draft.form : this.end === null || form === "hex" ? "hex" : "text";
    this.start = this.form === "hex" ? hexOf(entry.value) : text;
    this.area = el("textarea", {
      class: "value", id: "editor", spellcheck: "false", autocapitalize: "none", "aria-label": "Value", rows: "16", value: draft?.text ?? this.start,
      on: { input: () => this.typed(), keydown: (event) => this.pressed(event) },
    });
    // A field gives its lines with "\n" alone.
    if (!draft) this.start = this.area.value;
    this.note = el("p", { class: "note", role: "status", id: "editor-note" });
    this.saving = writeButton("Save", () => this.save(), { class: "primary", id: "save" });
    const json = (label, change, id) => button(label, () => {
      if (!isJson(this.area.value)) throw new Error("This is not JSON.");
      this.area.value = change(this.area.value);
      this.typed();
    }, { id });
    const forms = this.form === "text" && isJson(text) ? [json("Format", pretty, "format"), json("Compact", compact, "compact-json")] : [];
    this.element = [this.note, this.area, el("div", { class: "buttons" }, forms, el("span", { class: "grow" }),
      button("Discard", () => this.discard(), { id: "discard" }), button("Close", () => this.left(false), { id: "close-editor", title: "What you typed is kept as a draft" }), this.saving)];
    if (this.form === "hex" && form !== "hex") this.note.textContent = "This value is binary or mixes kinds of line ends, so it is edited in hex.";
    else if (draft && draft.version !== entry.version) this.note.textContent = "The value has changed since this draft was begun. Saving shows both.";
  }

  isChanged() {
    return this.area.value !== this.start;
  }

  typed() {
    if (this.isChanged()) keepDraft(this.entry.key, { text: this.area.value, form: this.form, end: this.end, version: this.version });
    else dropDraft(this.entry.key);
  }

  pressed(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.saving.click();
    if (event.key === "Escape") {
      event.stopPropagation();
      this.left(false);
    }
  }

  /** Somebody else has changed or deleted the key. */
  overtaken(isGone) {
    this.note.textContent = isGone ? "Someone has deleted this key meanwhile." : "Someone has changed this key meanwhile. Saving shows both.";
  }

  async discard() {
    if (this.isChanged() && !(await confirm("Discard your changes?", "What you typed is not saved.", "Discard"))) return;
    dropDraft(this.entry.key);
    this.left(false);
  }

  value() {
    if (!this.isChanged()) return this.entry.value;
    if (this.form !== "hex") return typedBytes(this.area.value, this.end);
    const given = bytesOfHex(this.area.value);
    if (given === null) throw new Error("Hex is pairs of the digits 0 to 9 and a to f.");
    return given;
  }

  /** Saves. Nothing can be typed meanwhile: it would neither be saved nor kept. */
  async save() {
    this.area.readOnly = true;
    try {
      await this.send();
    } finally {
      this.area.readOnly = false;
    }
  }

  /** Sends the value, if the entry is still what was seen; if not, shows both and asks. */
  async send() {
    const { key, deadline } = this.entry;
    const value = this.value();
    if (same(value, this.entry.value) && this.version === this.entry.version) {
      dropDraft(key);
      toast("Nothing was changed.");
      return this.left(false);
    }
    const keep = deadline ? { expires_at_ms: deadline } : {};
    let { version } = this;
    for (;;) {
      try {
        await sendJson("PUT", keyPath(key), { ...payloadOf(value), ...keep }, { headers: { "If-Match": `"${version}"` } });
        break;
      } catch (error) {
        if (error.status !== 412 && error.status !== 404) throw error;
        const theirs = await read(key, Infinity).catch((failed) => {
          if (failed.status === 404) return null;
          throw failed;
        });
        const choice = await askConflict(value, theirs?.value ?? null);
        if (choice === null) return;
        if (choice === "theirs") {
          dropDraft(key);
          return this.left(true);
        }
        if (theirs === null) {
          await sendJson("POST", "kv/", { key, ...payloadOf(value) });
          this.added();
          break;
        }
        version = theirs.version;
      }
    }
    dropDraft(key);
    toast("Saved.");
    await this.left(true);
  }
}

/** Refuses a value that is too large for a field. */
export function checkEditable(size) {
  if (size > EDITED_BYTES_MAX) throw new Error(`A value of ${bytes(size)} is too large to edit here. Download it, and send it with pykv set --file.`);
}
