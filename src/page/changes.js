// Changes that ask first, or that can be taken back.

import { Problem, keyPath, request, sendJson, withQuery } from "./api.js";
import { bytesOf, payloadOf, textOf } from "./bytes.js";
import { button, dialog, el, field, tell, toast } from "./ui.js";
import { bytes, count, plural } from "./format.js";

/** Above this, a value is not kept for a way back. */
const UNDO_BYTES_MAX = 16 << 20;

/** What a conflict shows of a value. */
const SHOWN_CHARS = 4000;

const UNITS = [["seconds", 1], ["minutes", 60], ["hours", 3600], ["days", 86400]];

/** A control for a time to live; `seconds()` gives null for none, or throws what is wrong. */
export function lifetime(label) {
  const number = el("input", { type: "text", inputmode: "decimal", placeholder: "for good", autocomplete: "off" });
  const unit = el("select", { "aria-label": "Unit" }, UNITS.map(([name]) => el("option", { value: name }, name)));
  return {
    element: el("div", { class: "pair" }, field(label, number), unit),
    seconds() {
      const text = number.value.trim();
      if (text === "") return null;
      const seconds = Number(text) * UNITS.find(([name]) => name === unit.value)[1];
      if (!(seconds > 0)) throw new Error("A time to live is a number above 0.");
      return seconds;
    },
  };
}

/** Asks for a new key and adds it; gives the key, or null. */
export async function addKey(prefix) {
  const key = el("input", { type: "text", value: prefix, autocomplete: "off", spellcheck: "false", autocapitalize: "none", name: "key" });
  const value = el("textarea", { rows: "8", spellcheck: "false", name: "value" });
  const ttl = lifetime("Lives for");
  let added = null;
  // The dialog stays until the node has taken it: nothing that was typed is lost to a refusal.
  await new Promise((resolve) => {
    const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
    const box = el("dialog", { "aria-label": "New key", on: { close: () => (box.remove(), resolve()) } });
    const submit = async (event) => {
      event.preventDefault();
      try {
        const seconds = ttl.seconds();
        const body = { key: key.value, value: value.value, ...(seconds === null ? {} : { ttl: seconds }) };
        await sendJson("POST", "kv/", body);
        added = key.value;
        box.close();
      } catch (error) {
        wrong.hidden = false;
        wrong.textContent = error.kind === "key-exists" ? "This key exists. Open it to change it." : error.message;
      }
    };
    box.append(
      el("form", { on: { submit } }, el("h2", {}, "New key"), field("Key", key), field("Value", value), ttl.element, wrong,
        el("div", { class: "buttons" }, button("Cancel", () => box.close()), el("button", { class: "primary" }, "Add"))),
    );
    document.body.append(box);
    box.showModal();
  });
  return added;
}

/** Deletes an entry, in the version that was seen, and offers a way back; whether it was deleted. */
export async function deleteKey(entry, whole, { removed, added }) {
  const { key, version, size, deadline } = entry;
  if (size > UNDO_BYTES_MAX) {
    const sure = await dialog("Delete this key?", el("p", {}, `${bytes(size)} are too many to keep for a way back.`), [
      { label: "Cancel", value: null },
      { label: "Delete", value: "yes", kind: "danger" },
    ]);
    if (!sure) return false;
  }
  const value = size > UNDO_BYTES_MAX ? null : await whole();
  try {
    await request("DELETE", keyPath(key), { headers: { "If-Match": `"${version}"` } });
  } catch (error) {
    if (error.status === 412 && error.version !== null) {
      throw new Problem(412, { detail: "Someone has changed this key meanwhile. Look at it again before you delete it." });
    }
    if (error.status !== 404 && error.status !== 412) throw error;
    toast("Someone else has deleted it already.");
    removed(key);
    return true;
  }
  removed(key);
  const action = value && {
    label: "Undo",
    press: async () => {
      try {
        await sendJson("POST", "kv/", { key, ...payloadOf(value), ...(deadline ? { expires_at_ms: deadline } : {}) });
        added(key);
        toast("It is back.");
      } catch (error) {
        tell(error.kind === "key-exists" ? new Error("Someone has added this key anew meanwhile; it was left alone.") : error);
      }
    },
  };
  toast(`Deleted “${shorten(key)}”.`, { action });
  return true;
}

/** Counts what begins with a prefix, asks, and deletes; whether anything was. */
export async function deletePrefix(prefix) {
  const dry = await request("DELETE", withQuery("kv/", { prefix, dry_run: true }));
  const { would_delete: found } = await dry.json();
  if (found === 0) {
    toast(prefix ? `No key begins with “${shorten(prefix)}”.` : "There are no keys.");
    return false;
  }
  const what = prefix ? el("p", {}, `${plural(found, "key")} ${found === 1 ? "begins" : "begin"} with `, el("code", {}, prefix), ".") : el("p", {}, `That is every key there is: ${count(found)}.`);
  const typed = el("input", { type: "text", autocomplete: "off", inputmode: "numeric" });
  const content = el("div", {}, what, el("p", {}, "There is no way back."), field(`Type ${found} to go on`, typed));
  const sure = await dialog(`Delete ${plural(found, "key")}?`, content, [{ label: "Cancel", value: null }, { label: "Delete", value: "yes", kind: "danger" }], {
    check: () => (typed.value.replace(/[\s,.]/g, "") === String(found) ? null : `This is not ${found}.`),
  });
  if (!sure) return false;
  const answer = await request("DELETE", withQuery("kv/", { prefix }));
  const { deleted } = await answer.json();
  toast(`Deleted ${plural(deleted, "key")}.`);
  return true;
}

/** Shows both sides of a conflict; gives "mine", "theirs", or null to go on editing. */
export function askConflict(mine, theirs) {
  const side = (title, value) => {
    const text = value === null ? null : textOf(value);
    const shown = value === null ? "(deleted)" : text ?? `(${bytes(value.length)}, not text)`;
    const cut = shown.length > SHOWN_CHARS ? `${shown.slice(0, SHOWN_CHARS)}…` : shown;
    return el("section", {}, el("h3", {}, title), el("pre", { tabindex: "0", class: "value" }, cut));
  };
  const gone = theirs === null;
  const content = el("div", {},
    el("p", {}, gone ? "Someone has deleted this key while you were editing it." : "Someone has changed this key while you were editing it. Nothing was saved yet."),
    el("div", { class: "sides" }, side("Yours", mine), side("Theirs", theirs)));
  return dialog("Two changes of one key", content, [
    { label: "Go on editing", value: null },
    { label: gone ? "Leave it deleted" : "Take theirs", value: "theirs" },
    { label: gone ? "Add it again" : "Save mine over it", value: "mine", kind: "danger" },
  ], { wide: true });
}

/** Long text as far as a line takes it. */
export const shorten = (text) => (text.length > 60 ? `${text.slice(0, 57)}…` : text);

/** The bytes of what was typed, with the ends of lines that the value had. */
export const typedBytes = (text, end) => bytesOf(end === "\r\n" ? text.replace(/\n/g, "\r\n") : text);
