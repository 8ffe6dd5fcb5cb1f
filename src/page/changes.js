// Changes that ask first, or that can be taken back.

import { Problem, keyPath, request, sendJson, withQuery } from "./api.js";
import { sendEach } from "./batch.js";
import { bytesOf, oneLine, payloadOf, textOf } from "./bytes.js";
import { askDeadline, lifetime } from "./deadline.js";
import { draftOf, dropDraft, keepDraft, renameDraft } from "./drafts.js";
import { progress } from "./transfer.js";
import { button, dialog, el, field, sentence, tell, toast } from "./ui.js";
import { bytes, count, plural } from "./format.js";

/** Operations of one batch: what every node takes. */
const BATCH_KEYS = 500;

/** Fewer keys than these are done with before a bar could be read. */
const BAR_KEYS_MIN = 100;

/** The draft of a key that has no name yet. */
const NEW = "";

/** Above this, a value is not kept for an undo. */
const UNDO_BYTES_MAX = 16 << 20;

/** What a conflict shows of a value. */
const SHOWN_CHARS = 4000;

/**
 * Asks for a new key and adds it; gives the key, or null. What is typed is kept as a draft until it is added. `begun`: the
 * draft of a key that is gone meanwhile.
 */
export async function addKey(prefix, begun = null) {
  const draft = begun ?? draftOf(NEW);
  const key = el("input", { type: "text", value: prefix || draft?.key || "", autocomplete: "off", spellcheck: "false", autocapitalize: "none", name: "key" });
  const value = el("textarea", { rows: "8", spellcheck: "false", name: "value", value: draft?.text ?? "" });
  const ttl = lifetime("Expires after");
  let added = null;
  await new Promise((resolve) => {
    const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
    const box = el("dialog", { "aria-label": "New key", on: { close: () => (box.remove(), resolve()) } });
    const keep = () => (value.value ? keepDraft(NEW, { key: key.value, text: value.value }) : dropDraft(NEW));
    const submit = async (event) => {
      event.preventDefault();
      try {
        const seconds = ttl.seconds();
        await sendJson("POST", "kv/", { key: key.value, value: value.value, ...(seconds === null ? {} : { ttl: seconds }) });
        added = key.value;
        dropDraft(NEW);
        if (begun) dropDraft(prefix);
        box.close();
      } catch (error) {
        wrong.hidden = false;
        if (error.kind !== "key-exists") wrong.textContent = sentence(error.message);
        else wrong.replaceChildren("This key exists. ", el("a", { href: withQuery("#explorer", { key: key.value }), onclick: () => box.close() }, "Open it"), " to change it.");
      }
    };
    box.append(
      el("form", { on: { submit, input: keep } }, el("h2", {}, "New key"), field("Key", key), field("Value", value), ttl.element, wrong,
        el("div", { class: "buttons" }, button("Cancel", () => box.close()), el("button", { class: "primary" }, "Add"))),
    );
    document.body.append(box);
    box.showModal();
  });
  return added;
}

/** Asks for another name and gives the entry that name, or a second entry: one batch, so nothing is lost between. */
export async function copyKey(entry, isRename) {
  // A field of one line would drop the line ends of a name.
  const [kind, shape] = entry.key.includes("\n") ? ["textarea", { rows: "2" }] : ["input", { type: "text" }];
  const name = el(kind, { ...shape, value: isRename ? entry.key : `${entry.key}-copy`, autocomplete: "off", spellcheck: "false", autocapitalize: "none", name: "key" });
  const title = isRename ? "Rename this key" : "Duplicate this key";
  let moved = null;
  await new Promise((resolve) => {
    const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
    const box = el("dialog", { "aria-label": title, on: { close: () => (box.remove(), resolve()) } });
    const submit = async (event) => {
      event.preventDefault();
      const { key, version, value, deadline } = entry;
      const set = { op: "set", key: name.value, ...payloadOf(value), ...(deadline ? { expires_at_ms: deadline } : {}), if_absent: true };
      try {
        if (name.value === key) throw new Error("This is its name already.");
        const answer = await sendJson("POST", "batch", { operations: isRename ? [set, { op: "delete", key, if_version: version }] : [set] });
        const [{ version: renamed }] = (await answer.json()).results;
        moved = name.value;
        if (isRename) renameDraft(key, moved, (begun) => (begun === version ? renamed : begun));
        box.close();
      } catch (error) {
        wrong.hidden = false;
        wrong.textContent = error.status === 412 ? "Nothing was changed: a key of this name exists, or someone has changed this one." : sentence(error.message);
      }
    };
    box.append(el("form", { on: { submit } }, el("h2", {}, title), field("New name", name, isRename ? "Both steps are one: the key is never missing, and never there twice." : null), wrong,
      el("div", { class: "buttons" }, button("Cancel", () => box.close()), el("button", { class: "primary" }, isRename ? "Rename" : "Duplicate"))));
    document.body.append(box);
    box.showModal();
    name.select();
  });
  if (moved !== null) toast(isRename ? `Renamed to “${shorten(moved)}”.` : `Duplicated as “${shorten(moved)}”.`);
  return moved;
}

/** Does something to many keys, some at a time, with a bar that can stop it. */
async function each(title, keys, size, work) {
  const shown = keys.length > BAR_KEYS_MIN ? progress(title) : null;
  try {
    for (let at = 0; at < keys.length && !shown?.signal.aborted; at += size) {
      await work(keys.slice(at, at + size), shown?.signal);
      shown?.at(at / keys.length, `${count(at)} of ${count(keys.length)} keys`);
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    shown?.end();
  }
}

/** Deletes keys that were chosen, after a question; whether it was done. */
export async function deleteKeys(keys) {
  const shown = el("ul", { class: "names" }, keys.slice(0, 8).map((key) => el("li", {}, shorten(key))), keys.length > 8 ? el("li", {}, `and ${count(keys.length - 8)} more`) : null);
  const sure = await dialog(`Delete ${plural(keys.length, "key")}?`, el("div", {}, shown, el("p", {}, "This cannot be undone.")), [{ label: "Cancel", value: null }, { label: "Delete", value: "yes", kind: "danger" }]);
  if (!sure) return false;
  let deleted = 0;
  await each("Deleting", keys, BATCH_KEYS, async (some, signal) => {
    const results = await sendEach(some.map((key) => ({ op: "delete", key })), { signal });
    deleted += results.filter((result) => result.status < 300).length;
  });
  toast(`Deleted ${plural(deleted, "key")}.`);
  return true;
}

/** Gives keys that were chosen one deadline; whether it was done. */
export async function expireKeys(keys) {
  const given = await askDeadline(undefined, `When do ${plural(keys.length, "key")} expire?`);
  if (given === null) return false;
  let changed = 0;
  await each("Changing deadlines", keys, 1, async ([key], signal) => {
    await sendJson("PATCH", keyPath(key), given, { signal }).then(() => (changed += 1), (error) => {
      if (error.status !== 404) throw error;
    });
  });
  toast(`Changed ${plural(changed, "key")}.`);
  return true;
}

/** Deletes an entry, in the version that was seen, and offers a way back; whether it was deleted. */
export async function deleteKey(entry, whole, { removed, added }) {
  const { key, version, size, deadline } = entry;
  if (size > UNDO_BYTES_MAX) {
    const sure = await dialog("Delete this key?", el("p", {}, `A value of ${bytes(size)} is too large to keep for an undo.`), [
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
        tell(error.kind === "key-exists" ? new Error("Someone has added this key again meanwhile; it was left alone.") : error);
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
  const what = prefix ? el("p", {}, `${plural(found, "key")} ${found === 1 ? "begins" : "begin"} with `, el("code", {}, shorten(prefix)), ".") : el("p", {}, `These are all keys: ${count(found)}.`);
  const typed = el("input", { type: "text", autocomplete: "off", inputmode: "numeric" });
  const content = el("div", {}, what, el("p", {}, "This cannot be undone."), field(`Type ${found} to confirm`, typed));
  const sure = await dialog(`Delete ${plural(found, "key")}?`, content, [{ label: "Cancel", value: null }, { label: "Delete", value: "yes", kind: "danger" }], {
    check: () => (typed.value.replace(/[\s,.]/g, "") === String(found) ? null : `This is not ${found}.`),
  });
  if (!sure) return false;
  const answer = await request("DELETE", withQuery("kv/", { prefix }));
  const { deleted } = await answer.json();
  toast(`Deleted ${plural(deleted, "key")}.`);
  return true;
}

/** Shows both sides of a conflict; gives "mine", "theirs", or null to keep editing. */
export function askConflict(mine, theirs) {
  const side = (title, value) => {
    const text = value === null ? null : textOf(value);
    const shown = value === null ? "(deleted)" : text ?? `(${bytes(value.length)}, not text)`;
    const cut = shown.length > SHOWN_CHARS ? `${shown.slice(0, SHOWN_CHARS)}…` : shown;
    return el("section", {}, el("h3", {}, title), el("pre", { tabindex: "0", class: "value" }, cut));
  };
  const gone = theirs === null;
  const content = el("div", {},
    el("p", {}, gone ? "Someone has deleted this key while you were editing it." : "Someone has changed this key while you were editing it. Nothing is saved yet."),
    el("div", { class: "sides" }, side("Yours", mine), side("Theirs", theirs)));
  return dialog("Someone else changed this key", content, [
    { label: "Keep editing", value: null },
    { label: gone ? "Leave it deleted" : "Take theirs", value: "theirs" },
    { label: gone ? "Add it again" : "Save mine over it", value: "mine", kind: "danger" },
  ], { wide: true });
}

/** A key as far as a line takes it. */
export const shorten = (key) => oneLine(key.length > 60 ? `${key.slice(0, 57)}…` : key);

/** The bytes of what was typed, with the ends of lines that the value had. */
export const typedBytes = (text, end) => bytesOf(end === "\r\n" ? text.replace(/\n/g, "\r\n") : text);
