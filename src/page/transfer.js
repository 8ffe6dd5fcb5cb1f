// Keys in and out as JSON lines, the form of `pykv export` and `pykv import`.

import { getJson, sendJson, withQuery } from "./api.js";
import { sendEach } from "./batch.js";
import { bytesOf } from "./bytes.js";
import { readOnly, status } from "./state.js";
import { dialog, el, save, toast } from "./ui.js";
import { bytes, count, plural } from "./format.js";

const EXPORTED_BYTES_MAX = 256 << 20;
const BATCH_KEYS = 500;
const WRONG_SHOWN = 5;

/** A bar that shows how far something is, in a dialog that can stop it. */
export function progress(title) {
  const bar = el("progress", { max: "1", "aria-label": title });
  const line = el("p", { role: "status" });
  const stopper = new AbortController();
  const box = el("dialog", { "aria-label": title, on: { cancel: (event) => event.preventDefault() } },
    el("h2", {}, title), bar, line, el("div", { class: "buttons" }, el("button", { type: "button", onclick: () => stopper.abort() }, "Stop")));
  document.body.append(box);
  box.showModal();
  return {
    signal: stopper.signal,
    at(part, text) {
      bar.value = part;
      line.textContent = text;
    },
    end: () => box.remove(),
  };
}

const line = (entry) => JSON.stringify({ key: entry.key, value: entry.value, ...(entry.encoding ? { encoding: entry.encoding } : {}), ...(entry.expires_at_ms ? { expires_at_ms: entry.expires_at_ms } : {}) });

/** Saves keys as JSON lines: those that are given, or all that the list asks for. */
export async function exportKeys(list, question, keys = null) {
  const shown = progress("Exporting");
  const lines = [];
  let size = 0;
  const add = (entry) => {
    const text = line(entry);
    size += text.length;
    if (size > EXPORTED_BYTES_MAX) throw new Error(`More than ${bytes(EXPORTED_BYTES_MAX)} do not fit into a browser; pykv export writes them to a file.`);
    lines.push(text);
  };
  try {
    if (keys) {
      for (let at = 0; at < keys.length; at += BATCH_KEYS) {
        const operations = keys.slice(at, at + BATCH_KEYS).map((key) => ({ op: "get", key }));
        const results = await sendEach(operations, { signal: shown.signal });
        results.forEach((result, index) => result.status === 200 && add({ key: operations[index].key, ...result }));
        shown.at(at / keys.length, plural(lines.length, "key"));
      }
    } else {
      const { kind, text } = question;
      const escaped = text.replace(/[*?[\]\\]/g, "\\$&");
      const which = kind === "prefix" ? { prefix: text || null } : { match: kind === "text" ? `*${escaped}*` : text };
      const total = list.source?.root.total || 1;
      let cursor = null;
      do {
        const page = await getJson(withQuery("kv/", { ...which, values: true, limit: 1000, cursor }), { signal: shown.signal });
        page.entries.forEach(add);
        cursor = page.cursor;
        shown.at(Math.min(1, lines.length / total), plural(lines.length, "key"));
      } while (cursor !== null);
    }
  } finally {
    shown.end();
  }
  save(new Blob([lines.map((one) => `${one}\n`).join("")], { type: "application/jsonl" }), "keys.jsonl");
  toast(`Exported ${plural(lines.length, "key")}.`);
}

/** Takes a file that is dropped on an element. */
export function dropZone(element, take) {
  const has = (event) => event.dataTransfer?.types.includes("Files") && readOnly() === null;
  element.addEventListener("dragover", (event) => {
    if (!has(event)) return;
    event.preventDefault();
    element.classList.add("dropping");
  });
  element.addEventListener("dragleave", () => element.classList.remove("dropping"));
  element.addEventListener("drop", (event) => {
    element.classList.remove("dropping");
    if (!has(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
}

/** One line of a file as an operation of a batch, or what is wrong with it. */
function operation(text) {
  const given = JSON.parse(text);
  if (typeof given !== "object" || given === null || typeof given.key !== "string" || given.value === undefined) throw new Error("a line is an object with a key and a value");
  const { key, value, encoding, ttl, expires_at_ms: expires } = given;
  // Reading and writing JSON anew would change its numbers.
  if (typeof value !== "string") throw new Error("its value must be a string, as exports have it");
  return { op: "set", key, value, ...(encoding ? { encoding } : {}), ...(ttl ? { ttl } : {}), ...(expires ? { expires_at_ms: expires } : {}) };
}

/** Reads a file of JSON lines and sets its keys, some at a time; says what came of it. */
export async function importFile(file) {
  const lines = (await file.text()).split("\n").map((text) => text.trim());
  const wrong = [];
  const operations = [];
  lines.forEach((text, at) => {
    if (text === "") return;
    try {
      operations.push({ at: at + 1, what: operation(text), size: bytesOf(text).length });
    } catch (error) {
      wrong.push(`Line ${at + 1}: ${error instanceof SyntaxError ? "it is no JSON" : error.message}`);
    }
  });
  if (!operations.length) throw new Error(`Nothing to import in ${file.name}: ${wrong[0] ?? "it is empty"}`);
  const sure = await dialog("Import keys?", el("p", {}, `${file.name} has ${plural(operations.length, "key")}. Keys that exist get the value in the file.${wrong.length ? ` ${plural(wrong.length, "line")} cannot be read.` : ""}`),
    [{ label: "Cancel", value: null }, { label: "Import", value: "yes", kind: "primary" }]);
  if (!sure) return;
  const limits = { keys: Math.min(BATCH_KEYS, status?.limits.batch_operations_max ?? BATCH_KEYS), bytes: (status?.limits.batch_bytes_max ?? 8 << 20) / 2 };
  const shown = progress(`Importing ${file.name}`);
  let done = 0;
  const send = async (batch) => {
    try {
      await sendJson("POST", "batch", { operations: batch.map(({ what }) => what) }, { signal: shown.signal });
      done += batch.length;
    } catch (error) {
      if (error.status === undefined || error.status === 401 || error.status >= 500) throw error;
      // One of them is refused: each alone, so that the others get in.
      if (batch.length === 1) wrong.push(`Line ${batch[0].at}: ${error.message}`);
      else for (const one of batch) await send([one]);
    }
  };
  let stopped = null;
  try {
    for (let at = 0; at < operations.length;) {
      const batch = [];
      for (let size = 0; at < operations.length && batch.length < limits.keys && (batch.length === 0 || size + operations[at].size < limits.bytes); at += 1) {
        size += operations[at].size;
        // No two operations of a batch write one key.
        if (batch.some(({ what }) => what.key === operations[at].what.key)) break;
        batch.push(operations[at]);
      }
      await send(batch);
      shown.at(at / operations.length, `${count(at)} of ${count(operations.length)} keys`);
    }
  } catch (error) {
    stopped = error.name === "AbortError" ? "It was stopped." : error.message;
  } finally {
    shown.end();
  }
  const report = el("div", { id: "import-report" }, el("p", {}, `Imported ${plural(done, "key")}.`), stopped ? el("p", { class: "wrong" }, stopped) : null,
    wrong.length ? el("p", {}, `${plural(wrong.length, "line")} skipped:`) : null, el("ul", {}, wrong.slice(0, WRONG_SHOWN).map((text) => el("li", {}, text))),
    wrong.length > WRONG_SHOWN ? el("p", { class: "note" }, `And ${count(wrong.length - WRONG_SHOWN)} more.`) : null);
  await dialog("Import", report, [{ label: "Close", value: "yes", kind: "primary" }]);
}
