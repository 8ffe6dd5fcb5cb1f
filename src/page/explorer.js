// The explorer: keys on one side, the entry that is open on the other.
//
// What is shown stands in the address (`#explorer?prefix=…&key=…`), so it can be linked to and gone back from.

import { node, withQuery } from "./api.js";
import { addKey, deleteKeys, deletePrefix, expireKeys } from "./changes.js";
import { Entry } from "./entry.js";
import { Follower } from "./follow.js";
import { Keys } from "./keys.js";
import { Source } from "./source.js";
import { firstLook, isGateway, state, writeButton } from "./state.js";
import { dropZone, exportKeys, importFile } from "./transfer.js";
import { Welcome } from "./welcome.js";
import { button, el, menu, tell } from "./ui.js";
import { plural } from "./format.js";

const TYPING_MS = 250;
const RENEW_MS_MIN = 1500;
/** A list that is asked anew takes no more than a twentieth of the node's time that it took before. */
const RENEW_SHARE = 20;
const KINDS = [["prefix", "Begins with"], ["text", "Contains"], ["pattern", "Pattern"]];
const VIEWS = [["", "List", "All keys in one list"], [":", "a:b", "A tree, parted at colons"], ["/", "a/b", "A tree, parted at slashes"]];

/** Where a key is shown. */
export const linkTo = (key) => withQuery("#explorer", { key });

export class Explorer {
  constructor() {
    this.keys = new Keys({ open: (key) => this.go({ key }), chosen: () => this.drawChosen(), act: (what, key) => this.act(what, key), renew: () => this.refresh() });
    this.welcome = new Welcome(() => this.add());
    this.entry = new Entry({
      close: () => this.go({ key: null }),
      changed: () => this.renewSoon(0),
      moved: (key) => this.go({ key }),
      create: (key, draft) => this.add(key, draft),
      blank: this.welcome.element,
    });
    this.question = { kind: "prefix", text: "", delimiter: sessionStorage.getItem("pykv-tree") ?? "" };
    this.input = el("input", {
      type: "search", id: "prefix", autocomplete: "off", spellcheck: "false", autocapitalize: "none", "aria-label": "Search keys", "aria-controls": "keys",
      on: { input: () => this.typed(), keydown: (event) => event.key === "ArrowDown" && (event.preventDefault(), this.keys.enter()) },
    });
    this.kind = el("select", { "aria-label": "How to search", id: "search-kind", on: { change: () => this.searched() } }, KINDS.map(([value, label]) => el("option", { value }, label)));
    this.views = el("div", { class: "choice", role: "group", "aria-label": "Shown as" }, VIEWS.map(([value, label, title]) =>
      el("button", { type: "button", "data-tree": value, title, onclick: () => this.shownAs(value) }, label)));
    this.deleting = writeButton("", () => this.deleteThese(), { id: "delete-prefix", class: "danger" });
    const more = menu("More", [
      writeButton("Import a file…", () => this.pick(), { id: "import" }),
      button("Export these", () => exportKeys(this.keys, this.question), { id: "export" }), this.deleting,
    ], { id: "keys-menu" });
    const form = el("form", { class: "search", role: "search", "data-errors": "", on: { submit: (event) => (event.preventDefault(), this.searched()) } },
      this.kind, this.input, this.views, more, writeButton("New key", () => this.add(), { id: "new-key", class: "primary" }));
    this.bar = el("div", { class: "chosen", hidden: true, role: "group", "aria-label": "Chosen keys" });
    this.file = el("input", { type: "file", hidden: true, "aria-label": "File to import", id: "import-file", on: { change: () => this.take(this.file.files[0]) } });
    this.side = el("section", { class: "side card", "aria-label": "Keys" }, form, this.bar, this.keys.element, this.file);
    this.element = el("div", { class: "explorer" }, this.side, this.entry.element);
    dropZone(this.side, (file) => this.take(file));
    this.follower = new Follower((changes) => this.changed(changes));
    this.renewed = 0;
    this.listed = null;
    this.drawChosen();
    state.addEventListener("status", () => this.drawViews());
    for (const name of ["up", "token"]) node.addEventListener(name, () => this.element.isConnected && this.refresh());
  }

  /** Shows what the address says. */
  async show(parameters) {
    const key = parameters.get("key");
    const kind = KINDS.some(([name]) => parameters.has(name)) ? KINDS.find(([name]) => parameters.has(name))[0] : this.listed === null ? "prefix" : this.question.kind;
    const text = parameters.get(kind) ?? "";
    if (this.input.value !== text) this.input.value = text;
    this.kind.value = kind;
    this.question = { ...this.question, kind, text };
    this.element.classList.toggle("opened", key !== null);
    this.keys.choose(key);
    const listing = this.list().catch((error) => tell(error, this.input));
    await Promise.all([listing, this.entry.show(key)]);
    this.keys.choose(key);
    this.follow();
  }

  hide() {
    this.entry.rest();
    this.follower.stop();
    clearTimeout(this.renewal);
  }

  /** What others change is followed, where the node tells it. */
  async follow() {
    await firstLook;
    if (isGateway() || !this.element.isConnected) return;
    const { kind, text } = this.question;
    const { key } = this.entry;
    this.follower.start(kind === "prefix" && (key === null || key.startsWith(text)) ? text : "");
  }

  /** Asks for the keys, where the question is another one. */
  async list() {
    const question = JSON.stringify(this.question);
    this.drawViews();
    if (this.listed === question) return;
    this.listed = question;
    try {
      await this.keys.ask(new Source(this.question));
    } catch (error) {
      // The next look at this view asks again.
      if (this.listed === question) this.listed = null;
      throw error;
    }
    this.side.querySelectorAll(".wrong.inline").forEach((old) => old.remove());
    this.renewed = Date.now();
  }

  refresh() {
    this.listed = null;
    this.list().catch((error) => tell(error, this.input));
    this.entry.again();
    this.welcome.again();
  }

  go({ kind = this.question.kind, text = this.question.text, key = this.entry.key }) {
    const to = withQuery("#explorer", { [kind]: text || null, key });
    if (location.hash === to) this.entry.again();
    else location.hash = to;
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.searched(), TYPING_MS);
  }

  /** A word that is being typed is no place to go back to. */
  searched() {
    clearTimeout(this.timer);
    const [kind, text] = [this.kind.value, this.input.value];
    history.replaceState(null, "", withQuery("#explorer", { [kind]: text || null, key: this.entry.key }));
    // Nothing to look for, or no pattern yet: all keys.
    this.question = { ...this.question, kind: text === "" ? "prefix" : kind, text };
    this.list().catch((error) => tell(error, this.input));
    this.question.kind = kind;
    this.follow();
  }

  shownAs(delimiter) {
    sessionStorage.setItem("pykv-tree", delimiter);
    this.question = { ...this.question, delimiter };
    this.list().catch((error) => tell(error, this.input));
  }

  drawViews() {
    this.views.hidden = isGateway();
    for (const view of this.views.children) {
      view.setAttribute("aria-pressed", String(view.dataset.tree === this.question.delimiter));
      view.disabled = this.kind.value !== "prefix" && this.input.value !== "";
    }
    this.input.placeholder = { prefix: "All keys", text: "A part of the name", pattern: "user:*:name" }[this.kind.value];
    const isAll = this.input.value === "";
    // The node deletes by the beginning alone; what else was found can be chosen in the list.
    this.deleting.hidden = !isAll && this.kind.value !== "prefix";
    this.deleting.textContent = isAll ? "Delete all keys…" : "Delete all that begin so…";
  }

  /** What has changed on the node. */
  changed(changes) {
    const { key } = this.entry;
    if (key !== null && (changes === null || changes.some((change) => change.key === key))) this.entry.changedOutside(changes?.findLast((change) => change.key === key) ?? null);
    this.renewSoon(RENEW_MS_MIN);
  }

  renewSoon(least) {
    if (this.renewal) return;
    const rest = Math.max(least, RENEW_SHARE * (this.keys.source?.took ?? 0));
    this.renewal = setTimeout(async () => {
      const { source } = this.keys;
      try {
        if (!this.element.isConnected || document.hidden || !source || source.root.loading) return;
        const fresh = await source.renewed();
        if (this.keys.source === source) this.keys.take(fresh);
      } catch {
        // It is asked for again with the next change.
      } finally {
        this.renewal = null;
      }
    }, least === 0 ? 0 : Math.max(0, this.renewed + rest - Date.now()));
    this.renewed = Date.now();
  }

  drawChosen() {
    const { selected } = this.keys;
    this.bar.hidden = selected.size === 0;
    if (selected.size === 0) return this.bar.replaceChildren();
    const keys = [...selected];
    const done = () => (this.keys.clear(), this.renewSoon(0), this.entry.again());
    this.bar.replaceChildren(el("strong", {}, `${plural(selected.size, "key")} chosen`),
      writeButton("Expires…", async () => (await expireKeys(keys)) && done(), { id: "expire-chosen" }),
      button("Export", () => exportKeys(this.keys, this.question, keys), { id: "export-chosen" }),
      writeButton("Delete…", async () => (await deleteKeys(keys)) && done(), { id: "delete-chosen", class: "danger" }),
      button("Clear", () => this.keys.clear(), { class: "quiet" }));
  }

  /** What a key of the keyboard does to the row that it is on. */
  async act(what, key) {
    if (this.entry.key !== key) {
      const to = withQuery("#explorer", { [this.question.kind]: this.question.text || null, key });
      history.pushState(null, "", to);
      this.keys.choose(key);
      this.element.classList.add("opened");
      await this.entry.show(key);
    }
    document.getElementById(what)?.click();
  }

  async add(key = this.kind.value === "prefix" ? this.input.value : "", draft = null) {
    const added = await addKey(key, draft);
    if (added === null) return;
    this.renewSoon(0);
    this.go({ key: added });
    if (this.entry.key === added) this.entry.show(added).catch(tell);
  }

  async deleteThese() {
    if (await deletePrefix(this.input.value)) this.refresh();
  }

  pick() {
    this.file.value = "";
    this.file.click();
  }

  async take(file) {
    if (!file) return;
    try {
      await importFile(file);
    } catch (error) {
      tell(error, this.input);
    }
    this.refresh();
  }
}

