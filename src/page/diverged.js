// What a node had to set aside: a look into it, and a way to send it again.
//
// Versions tell whether a key was changed since. A key that has a version from before the file, or was not there then and
// is not there now, is as it was: it gets the last that the file tells of it, under that condition. Others are left alone.

import { getJson, request, sendJson, keyPath, withQuery } from "./api.js";
import { oneLine } from "./bytes.js";
import { status, writeButton } from "./state.js";
import { progress } from "./transfer.js";
import { button, dialog, el, save, tell } from "./ui.js";
import { bytes, count, moment, plural } from "./format.js";

const SHOWN = 300;
const CHANGES_MAX = 200_000;

export class Diverged {
  constructor() {
    this.body = el("tbody");
    this.file = el("input", { type: "file", hidden: true, accept: ".json", "aria-label": "Changes that were set aside", on: { change: () => this.take().catch((error) => tell(error, this.sendFile)) } });
    this.sendFile = writeButton("Send set-aside writes…", () => ((this.file.value = ""), this.file.click()), { id: "diverged-file" });
    this.element = el("section", { class: "card", id: "diverged", "aria-label": "Writes that were set aside", hidden: true }, el("h3", {}, "Writes that were set aside"), el("p", { class: "note" }, "This node took these writes as a primary that others no longer followed. They are not part of the data. Keys that nobody has changed since can get these values again: here on the primary, or from a saved file on the primary's page."),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Files, a table" }, el("table", {}, el("thead", {}, el("tr", {}, ["File", "Size", ""].map((name) => el("th", { scope: "col" }, name || el("span", { class: "away" }, "What to do"))))), this.body)));
  }

  async refresh() {
    const found = await getJson("diverged", { quiet: true }).catch(() => null);
    const files = found?.files ?? [];
    this.element.hidden = files.length === 0;
    const text = JSON.stringify(files);
    if (this.body.dataset.files === text) return;
    this.body.dataset.files = text;
    const isPrimary = status?.role === "primary";
    this.body.replaceChildren(...files.map(({ name, bytes: size }) => el("tr", {}, el("td", {}, el("code", {}, name)), el("td", {}, bytes(size)), el("td", {}, el("div", { class: "buttons" },
      button("Look", () => this.look(name), { class: "small", "data-look": name }), button("Save", () => this.saveFile(name), { class: "small", title: "Saves the changes, to be sent again on the primary's page" }),
      isPrimary ? writeButton("Send again…", async () => this.send(await this.read(name)), { class: "small", "data-send": name }) : null)))));
  }

  /** All changes of a file. */
  async read(name) {
    const changes = [];
    let after = null;
    let about;
    do {
      about = await getJson(withQuery("diverged", { file: name, after }));
      changes.push(...about.changes);
      after = about.next;
      if (changes.length > CHANGES_MAX) throw new Error(`More than ${count(CHANGES_MAX)} changes are too many for a browser; pykv reapply sends them.`);
    } while (after !== null);
    return { file: name, log: about.log, fork: about.fork, changes };
  }

  async look(name) {
    const { changes } = await this.read(name);
    const rows = changes.slice(-SHOWN).reverse().map((change) => el("tr", {}, el("td", {}, moment(change.timestamp)), el("td", {}, change.operation), el("td", { class: "key", title: change.key }, oneLine(change.key)),
      el("td", { class: "key" }, change.value === undefined ? "" : change.value.slice(0, 120))));
    const table = el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Changes" }, el("table", {}, el("thead", {}, el("tr", {}, ["When", "Operation", "Key", "Value"].map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows)));
    await dialog(name, el("div", {}, el("p", {}, `${plural(changes.length, "change")}${changes.length > SHOWN ? `, the last ${SHOWN} shown` : ""}.`), table), [{ label: "Close", value: "yes", kind: "primary" }], { wide: true });
  }

  async saveFile(name) {
    save(new Blob([JSON.stringify(await this.read(name))], { type: "application/json" }), `${name.replace(/\.pykv$/, "")}.json`);
  }

  async take() {
    const file = this.file.files[0];
    if (!file) return;
    const told = JSON.parse(await file.text().then((text) => text || "null"));
    if (!Array.isArray(told?.changes)) throw new Error("This is no file of changes that were set aside.");
    await this.send(told);
  }

  /** Asks, sends key by key, and says what came of it. */
  async send({ log, fork, changes }) {
    if (log !== status.log.id) throw new Error("These changes were set aside by a node of another store.");
    const keys = new Map();
    for (const change of changes) keys.set(change.key, { wasThere: keys.get(change.key)?.wasThere ?? change.operation !== "SET", last: change });
    const sure = await dialog("Send these writes again?", el("p", {}, `${plural(keys.size, "key")} in ${plural(changes.length, "change")}. A key that was changed since is left alone.`), [{ label: "Cancel", value: null }, { label: "Send", value: "yes", kind: "primary" }]);
    if (!sure) return;
    const shown = progress("Sending again");
    const done = { sent: 0, changed: 0, same: 0 };
    try {
      let at = 0;
      for (const [key, told] of keys) {
        if (shown.signal.aborted) break;
        done[await sendOne(key, told, fork)] += 1;
        shown.at((at += 1) / keys.size, `${count(at)} of ${count(keys.size)} keys`);
      }
    } finally {
      shown.end();
    }
    await dialog("Sent again", el("ul", { id: "diverged-report" }, el("li", {}, `${plural(done.sent, "key")} sent.`), el("li", {}, `${plural(done.changed, "key")} left alone: changed since.`), el("li", {}, `${plural(done.same, "key")} needed nothing.`)), [{ label: "Close", value: "yes", kind: "primary" }]);
  }
}

/** What becomes of one key: "sent", "changed" or "same". */
async function sendOne(key, { wasThere, last }, fork) {
  const head = await request("HEAD", keyPath(key)).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  const version = head && Number(head.headers.get("ETag").replaceAll('"', ""));
  const isAsItWas = head ? version <= fork : !wasThere;
  if (last.operation === "EVICT" || last.operation === "EXPIRE" || last.expires_at_ms <= Date.now()) return "same";
  if (last.operation === "DELETE" && !head) return "same";
  if (!isAsItWas) return "changed";
  const { value, encoding, expires_at_ms: expires } = last;
  const condition = head ? { if_version: version } : { if_absent: true };
  const operation = last.operation === "DELETE" ? { op: "delete", key, if_version: version } : { op: "set", key, value, ...(encoding ? { encoding } : {}), ...(expires ? { expires_at_ms: expires } : {}), ...condition };
  try {
    await sendJson("POST", "batch", { operations: [operation] });
    return "sent";
  } catch (error) {
    if (error.status === 412) return "changed";
    throw error;
  }
}
