// The list of keys, of which only the rows in sight are elements: a tree or a flat list, with size and deadline.

import { oneLine } from "./bytes.js";
import { draftOf } from "./drafts.js";
import { button, el, tell } from "./ui.js";
import { bytes, count, plural, span } from "./format.js";

const ROW_PX = 32;
const SPARE_ROWS = 8;
// Browsers draw no element much higher than this many rows.
const ROWS_MAX = 500_000;
const COLUMNS = [["key", "Name"], ["value_bytes", "Size"], ["expires_at_ms", "Expires"]];

export class Keys {
  /** `open` is called with a key, `chosen` when the selection has changed, `act` with "edit", "delete" or "close". */
  constructor({ open, chosen, act, renew }) {
    Object.assign(this, { open, chosen, act });
    this.source = null;
    this.selected = new Set();
    this.current = null;
    this.active = -1;
    this.anchor = -1;
    this.sort = "key";
    this.isDown = false;
    this.all = [];
    this.rows = el("div", { class: "rows", role: "rowgroup" });
    this.box = el("div", {
      class: "keys", id: "keys", role: "treegrid", tabindex: "0", "aria-label": "Keys", "aria-multiselectable": "true",
      on: { scroll: () => this.scrolled(), keydown: (event) => this.pressed(event) },
    }, this.rows);
    this.heads = el("div", { class: "heads" }, COLUMNS.map(([name, label]) =>
      el("button", { type: "button", "data-sort": name, onclick: () => this.sortBy(name) }, label)));
    this.line = el("p", { class: "line", role: "status", id: "keys-line" });
    this.more = button("Load more", () => this.load(), { class: "quiet", hidden: true, id: "keys-more" });
    this.again = button("Refresh", renew, { class: "quiet", hidden: true, id: "keys-refresh", title: "Asks for the keys anew: a gateway does not say what others change" });
    this.empty = el("div", { class: "empty", hidden: true });
    this.element = el("div", { class: "list" }, this.heads, this.box, this.empty, el("div", { class: "foot" }, this.line, this.again, this.more));
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  /** Shows another question, from its beginning. */
  async ask(source) {
    this.source?.stop();
    this.source = source;
    this.active = -1;
    this.line.textContent = "Loading…";
    this.element.classList.add("loading");
    try {
      await source.load(source.root);
      if (this.source !== source) return;
      this.box.scrollTop = 0;
      this.changed();
    } catch (error) {
      if (error.name === "AbortError" || this.source !== source) return;
      source.root.loaded = true;
      source.root.failed = true;
      this.changed();
      throw error;
    } finally {
      if (this.source === source) this.element.classList.remove("loading");
    }
  }

  /** Shows the same question, asked anew; what is chosen and where one looks stay. */
  take(source) {
    this.source = source;
    this.changed();
  }

  async load() {
    const { source } = this;
    if (source.root.next === null) return;
    await source.load(source.root);
    if (this.source === source) this.changed();
  }

  /** The rows are others now. */
  changed() {
    const active = this.nameOf(this.all[this.active]);
    const canSort = this.source.isComplete() || this.source.delimiter !== null;
    for (const head of this.heads.children) {
      const isBy = head.dataset.sort === this.sort;
      head.disabled = !canSort && head.dataset.sort !== "key";
      head.title = head.disabled ? "More keys than are loaded: they can be sorted once all are here." : "Sort by this";
      head.setAttribute("aria-pressed", String(isBy));
      head.dataset.down = String(isBy && this.isDown);
    }
    this.all = this.source.rows(canSort ? this.sort : "key", canSort && this.isDown).slice(0, ROWS_MAX);
    this.active = this.all.findIndex((row) => this.nameOf(row) === (active ?? this.current));
    const there = new Set(this.all.map((row) => row.item?.key));
    const before = this.selected.size;
    for (const key of this.selected) if (!there.has(key)) this.selected.delete(key);
    if (this.selected.size !== before) this.chosen();
    this.draw();
  }

  nameOf(row) {
    return row && (row.item?.key ?? (row.folder ? row.folder.prefix : null));
  }

  sortBy(name) {
    this.isDown = this.sort === name && !this.isDown;
    this.sort = name;
    this.changed();
  }

  /** Takes the focus, on the row that is marked or the first. */
  enter() {
    if (this.all.length === 0) return;
    this.box.focus();
    this.active = Math.max(0, this.active);
    this.draw();
  }

  /** Shows which key is open. */
  choose(key) {
    this.current = key;
    const at = key === null ? -1 : this.all.findIndex((row) => row.item?.key === key);
    if (at >= 0 && at !== this.active) {
      this.active = at;
      this.reveal();
    }
    this.draw();
  }

  clear() {
    this.selected.clear();
    this.chosen();
    this.draw();
  }

  scrolled() {
    this.draw();
    const left = this.rows.offsetHeight - this.box.scrollTop - this.box.clientHeight;
    if (left < 20 * ROW_PX && this.source?.root.loaded && !this.source.root.loading) this.load().catch((error) => tell(error, this.more));
  }

  async toggle(row) {
    const { source } = this;
    this.line.textContent = "Loading…";
    const toggled = source.toggle(row.level, row.folder.prefix);
    await toggled.catch((error) => tell(error, this.more));
    if (this.source === source) this.changed();
  }

  go(row) {
    if (row.folder) this.toggle(row);
    else if (row.more) this.source.load(row.more).then(() => this.changed(), (error) => tell(error, this.more));
    else this.open(row.item.key);
  }

  select(at, isRange) {
    const [from, to] = isRange && this.anchor >= 0 ? [Math.min(this.anchor, at), Math.max(this.anchor, at)] : [at, at];
    const isOn = isRange || !this.selected.has(this.all[at]?.item?.key);
    for (const { item } of this.all.slice(from, to + 1)) if (item) isOn ? this.selected.add(item.key) : this.selected.delete(item.key);
    this.anchor = at;
    this.chosen();
    this.draw();
  }

  pressed(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_PX) - 1);
    const last = this.all.length - 1;
    const to = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page, Home: 0, End: last }[event.key];
    const row = this.all[this.active];
    if (event.altKey) return;
    if (to !== undefined) {
      this.active = Math.max(0, Math.min(last, to));
      if (event.shiftKey && this.all[this.active]) this.select(this.active, true);
      this.reveal();
      this.draw();
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      for (const { item } of this.all) if (item) this.selected.add(item.key);
      this.chosen();
      this.draw();
    } else if (event.key === "Escape" && this.selected.size) this.clear();
    else if (!row) return;
    else if (event.key === "Enter") this.go(row);
    else if (event.key === " " && row.item) this.select(this.active, event.shiftKey);
    else if (event.key === "ArrowRight" && row.folder && !row.isOpen) this.toggle(row);
    else if (event.key === "ArrowLeft" && row.folder && row.isOpen) this.toggle(row);
    else if (event.key === "ArrowLeft" && row.depth > 0) {
      this.active = this.all.findIndex((other) => other.folder?.prefix === row.level.prefix);
      this.reveal();
      this.draw();
    } else if ((event.key === "e" || event.key === "Delete") && row.item && !event.ctrlKey) this.act(event.key === "e" ? "edit" : "delete", row.item.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  reveal() {
    const top = this.active * ROW_PX;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + ROW_PX > scrollTop + clientHeight) this.box.scrollTop = top + ROW_PX - clientHeight;
  }

  draw() {
    if (!this.source) return;
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.min(this.all.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW_PX) + SPARE_ROWS);
    this.rows.style.height = `${this.all.length * ROW_PX}px`;
    this.rows.replaceChildren(...this.all.slice(first, last).map((row, offset) => this.row(row, first + offset)));
    this.box.setAttribute("aria-rowcount", String(this.source.root.next === null ? this.all.length : -1));
    if (this.active >= first && this.active < last) this.box.setAttribute("aria-activedescendant", `key-${this.active}`);
    else this.box.removeAttribute("aria-activedescendant");
    this.more.hidden = this.source.root.next === null || this.all.length >= ROWS_MAX;
    this.again.hidden = !this.source.isUnordered;
    this.empty.hidden = !(this.source.root.loaded && !this.source.root.failed && this.all.length === 0);
    this.box.hidden = !this.empty.hidden;
    this.heads.hidden = !this.empty.hidden;
    if (this.source.root.loaded) this.line.textContent = this.source.root.failed ? "" : this.says();
  }

  row(row, at) {
    const { item, folder, depth } = row;
    const name = item?.key ?? folder?.prefix ?? "";
    const isOn = Boolean(item) && this.selected.has(item.key);
    const shown = row.more ? "Load more…" : oneLine(name.slice(row.base.length)) || "(empty)";
    const cells = [
      item ? el("input", { type: "checkbox", tabindex: "-1", checked: isOn, "aria-label": `Choose ${shown}`, on: { click: (event) => (event.stopPropagation(), (this.active = at), this.select(at, event.shiftKey)) } })
        : el("i", { class: folder ? `twist${row.isOpen ? " open" : ""}` : "" }),
      el("span", { class: "name" }, shown, item && draftOf(item.key) ? el("b", { class: "draft", title: "It has a draft that is not saved" }, " ●") : null),
      el("span", { class: "size" }, folder ? plural(folder.keys, "key") : item ? bytes(item.value_bytes) : ""),
      el("span", { class: "expires" }, item?.expires_at_ms ? span((item.expires_at_ms - Date.now()) / 1000) : ""),
    ];
    const made = el("div", {
      class: ["row", at === this.active ? "active" : "", folder ? "folder" : "", item && item.key === this.current ? "current" : ""].join(" ").trim(),
      id: `key-${at}`, role: "row", title: name, "data-key": item ? item.key : null, "data-folder": folder ? folder.prefix : null,
      "aria-selected": item ? String(isOn) : null, "aria-current": item && item.key === this.current ? "true" : null,
      "aria-expanded": folder ? String(row.isOpen) : null, "aria-level": String(depth + 1), "aria-rowindex": String(at + 1),
      onclick: (event) => {
        this.active = at;
        if (item && (event.shiftKey || event.ctrlKey || event.metaKey)) this.select(at, event.shiftKey);
        else this.go(row);
      },
    }, cells.map((cell) => el("span", { role: "gridcell" }, cell)));
    made.style.top = `${at * ROW_PX}px`;
    made.style.paddingLeft = `${8 + depth * 18}px`;
    return made;
  }

  says() {
    const { source } = this;
    const { root } = source;
    if (source.kind !== "prefix" || source.isUnordered) {
      const such = source.kind === "prefix" ? (source.text ? `that begin with “${oneLine(source.text)}”` : "") : source.kind === "text" ? `with “${source.text}”` : `like ${source.text}`;
      const found = `${plural(root.items.length, "key")} ${such}`.trim();
      return root.next === null ? `${found}.` : `${found} so far. There are more to look at.`;
    }
    const such = source.text ? ` that begin with “${oneLine(source.text)}”` : "";
    const shown = source.delimiter === null && root.next !== null ? `, the first ${count(root.items.length)} shown` : "";
    return `${plural(root.total, "key")}${such}${shown}.`;
  }
}
