// The list of keys: pages of the node's listing, of which only the rows in sight are elements.
//
// A node lists in no order that means anything. What comes whole in the first pages is sorted; of more
// than that the order is the node's, and the line below says so.

import { getJson, withQuery } from "./api.js";
import { button, el, tell } from "./ui.js";
import { count, plural } from "./format.js";

const ROW_PX = 36;
const PAGE_KEYS = 1000;
const SORTED_MAX = 3 * PAGE_KEYS;
// Browsers draw no element much higher than this many rows; nobody scrolls that far either.
const KEYS_MAX = 500_000;

export class Keys {
  /** `open` is called with the key that was chosen. */
  constructor(open) {
    this.open = open;
    this.prefix = "";
    this.reset();
    this.chosen = null;
    this.rows = el("div", { class: "rows", role: "presentation" });
    this.box = el(
      "div",
      { class: "keys", id: "keys", role: "listbox", tabindex: "0", "aria-label": "Keys", on: { scroll: () => this.scrolled(), keydown: (event) => this.pressed(event) } },
      this.rows,
    );
    this.line = el("p", { class: "line", role: "status", id: "keys-line" });
    this.more = button("Load more", () => this.load(), { class: "quiet", hidden: true, id: "keys-more" });
    this.element = el("div", { class: "list" }, this.box, el("div", { class: "foot" }, this.line, this.more));
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  reset() {
    this.stop?.abort();
    this.stop = new AbortController();
    this.keys = [];
    this.cursor = null;
    this.complete = false;
    this.sorted = false;
    this.loading = null;
    this.active = -1;
  }

  /** Lists anew, what begins with `prefix`. */
  async list(prefix) {
    this.prefix = prefix;
    const chosen = this.chosen;
    this.reset();
    this.line.textContent = "Loading…";
    const { signal } = this.stop;
    try {
      const found = [];
      let cursor = null;
      do {
        const page = await this.page(cursor, signal);
        found.push(...page.keys);
        cursor = page.cursor;
      } while (cursor !== null && found.length < SORTED_MAX);
      this.keys = found;
      this.cursor = cursor;
      this.complete = cursor === null;
      this.sorted = this.complete;
      if (this.sorted) this.keys.sort();
      this.active = this.keys.indexOf(chosen);
      this.box.scrollTop = 0;
      this.draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.line.textContent = error.message;
      throw error;
    }
  }

  page(cursor, signal) {
    const path = withQuery("kv/", { limit: PAGE_KEYS, prefix: this.prefix || null, cursor });
    return getJson(path, { signal });
  }

  /** The next page; where one is on its way already, that one. */
  load() {
    // Without a cursor there is no next page: all is here, or the first one is still on its way.
    if (this.cursor === null || this.keys.length >= KEYS_MAX) return Promise.resolve();
    this.loading ??= this.loadPage(this.stop.signal).finally(() => (this.loading = null));
    return this.loading;
  }

  async loadPage(signal) {
    try {
      const page = await this.page(this.cursor, signal);
      this.keys.push(...page.keys);
      this.cursor = page.cursor;
      this.complete = page.cursor === null;
      this.draw();
    } catch (error) {
      // The node was started anew since the first page: there is no going on.
      if (error.kind === "stale-cursor") return this.list(this.prefix);
      throw error;
    }
  }

  /** A key that was added by this page. */
  added(key) {
    if (!key.startsWith(this.prefix) || this.keys.includes(key)) return;
    if (this.sorted) {
      const at = this.keys.findIndex((other) => other > key);
      this.keys.splice(at < 0 ? this.keys.length : at, 0, key);
    } else this.keys.unshift(key);
    this.active = this.keys.indexOf(this.chosen);
    this.draw();
  }

  /** A key that is gone. */
  removed(key) {
    const at = this.keys.indexOf(key);
    if (at < 0) return;
    this.keys.splice(at, 1);
    this.active = Math.min(this.active, this.keys.length - 1);
    this.draw();
  }

  /** Shows which key is open. */
  choose(key) {
    this.chosen = key;
    const at = this.keys.indexOf(key);
    if (at >= 0 && at !== this.active) {
      this.active = at;
      this.reveal();
    }
    this.draw();
  }

  scrolled() {
    this.draw();
    const left = this.rows.offsetHeight - this.box.scrollTop - this.box.clientHeight;
    if (left < 20 * ROW_PX) this.load().catch(tell);
  }

  pressed(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_PX) - 1);
    const last = this.keys.length - 1;
    const to = {
      ArrowDown: this.active + 1,
      ArrowUp: this.active - 1,
      PageDown: this.active + page,
      PageUp: this.active - page,
      Home: 0,
      End: last,
    }[event.key];
    if (to !== undefined) {
      this.active = Math.max(0, Math.min(last, to));
      this.reveal();
      this.draw();
    } else if ((event.key === "Enter" || event.key === " ") && this.keys[this.active] !== undefined) {
      this.open(this.keys[this.active]);
    } else return;
    event.preventDefault();
  }

  reveal() {
    const top = this.active * ROW_PX;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + ROW_PX > scrollTop + clientHeight) this.box.scrollTop = top + ROW_PX - clientHeight;
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_PX) - 8);
    const last = Math.min(this.keys.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW_PX) + 8);
    this.rows.style.height = `${this.keys.length * ROW_PX}px`;
    this.rows.replaceChildren(...this.keys.slice(first, last).map((key, offset) => this.row(key, first + offset)));
    if (this.active >= first && this.active < last) this.box.setAttribute("aria-activedescendant", `key-${this.active}`);
    else this.box.removeAttribute("aria-activedescendant");
    this.more.hidden = this.cursor === null || this.keys.length >= KEYS_MAX;
    this.line.textContent = this.says();
  }

  row(key, at) {
    const row = el(
      "div",
      {
        class: at === this.active ? "row active" : "row",
        id: `key-${at}`,
        role: "option",
        title: key,
        "aria-selected": String(key === this.chosen),
        "aria-posinset": String(at + 1),
        "aria-setsize": this.complete ? String(this.keys.length) : "-1",
        onclick: () => {
          this.active = at;
          this.open(key);
        },
      },
      key,
    );
    row.style.top = `${at * ROW_PX}px`;
    return row;
  }

  says() {
    const such = this.prefix ? ` with “${this.prefix}”` : "";
    if (this.cursor === null && !this.complete) return "Loading…";
    if (this.keys.length === 0 && this.complete) return this.prefix ? `No key begins${such}.` : "There are no keys yet.";
    if (this.complete) return plural(this.keys.length, "key") + such;
    if (this.keys.length >= KEYS_MAX) return `The first ${count(KEYS_MAX)} keys${such}. Say more of the beginning to see others.`;
    return `The first ${count(this.keys.length)} keys${such}, in no order. There are more.`;
  }
}
