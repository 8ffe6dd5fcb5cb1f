// The explorer: keys by prefix on one side, the entry that is open on the other.
//
// What is shown stands in the address (`#explorer?prefix=…&key=…`), so it can be linked to and gone back from.

import { node, withQuery } from "./api.js";
import { addKey, deletePrefix } from "./changes.js";
import { Entry } from "./entry.js";
import { Keys } from "./keys.js";
import { button, el, tell } from "./ui.js";

const TYPING_MS = 250;

/** Where a key is shown. */
export const linkTo = (key) => withQuery("#explorer", { key });

export class Explorer {
  constructor() {
    this.keys = new Keys((key) => this.go(this.prefix(), key));
    this.entry = new Entry({
      close: () => this.go(this.prefix(), null),
      added: (key) => this.keys.added(key),
      removed: (key) => this.keys.removed(key),
    });
    this.input = el("input", {
      type: "search", id: "prefix", placeholder: "Keys that begin with…", autocomplete: "off", spellcheck: "false",
      autocapitalize: "none", "aria-label": "Prefix", "aria-controls": "keys", on: { input: () => this.typed() },
    });
    const form = el(
      "form",
      { class: "search", role: "search", on: { submit: (event) => this.submitted(event) } },
      this.input,
      button("Delete these…", () => this.deleteThese(), { id: "delete-prefix", class: "quiet" }),
      button("New key…", () => this.add(), { id: "new-key", class: "primary" }),
    );
    this.element = el("div", { class: "explorer" }, el("section", { class: "side card", "aria-label": "Keys" }, form, this.keys.element), this.entry.element);
    this.listed = null;
    node.addEventListener("up", () => this.element.isConnected && this.refresh());
    node.addEventListener("token", () => this.element.isConnected && this.refresh());
  }

  prefix() {
    return this.input.value;
  }

  /** Shows what the address says. */
  async show(parameters) {
    const prefix = parameters.get("prefix") ?? "";
    const key = parameters.get("key");
    if (this.input.value !== prefix) this.input.value = prefix;
    this.element.classList.toggle("opened", key !== null);
    this.keys.choose(key);
    const listing = this.listed === prefix ? null : this.keys.list(prefix);
    this.listed = prefix;
    await Promise.all([listing, this.entry.show(key)]);
    this.keys.choose(key);
  }

  hide() {
    this.entry.rest();
  }

  refresh() {
    this.keys.list(this.prefix()).catch(tell);
    this.entry.again();
  }

  go(prefix, key) {
    const to = withQuery("#explorer", { prefix: prefix || null, key });
    if (location.hash === to) this.entry.again();
    else location.hash = to;
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.search(), TYPING_MS);
  }

  submitted(event) {
    event.preventDefault();
    clearTimeout(this.timer);
    this.listed = null;
    this.search();
  }

  search() {
    // A word that is being typed is no place to go back to.
    const key = new URLSearchParams(location.hash.split("?")[1]).get("key");
    history.replaceState(null, "", withQuery("#explorer", { prefix: this.prefix() || null, key }));
    if (this.listed === this.prefix()) return;
    this.listed = this.prefix();
    this.keys.list(this.listed).catch(tell);
  }

  async add() {
    const key = await addKey(this.prefix());
    if (key === null) return;
    this.keys.added(key);
    this.go(this.prefix(), key);
  }

  async deleteThese() {
    const deleted = await deletePrefix(this.prefix());
    if (deleted) this.refresh();
  }
}
