// Where the rows of the explorer come from: levels of a tree, or one list, each in pages of the node's.
//
// By prefix the node lists in the order of names and tells how many there are. A search for a text or a pattern goes
// through all keys in no order, a stretch at a time. So does a gateway to another engine with a prefix.

import { getJson, withQuery } from "./api.js";
import { firstLook, isGateway } from "./state.js";

const PAGE_KEYS = 1000;
const SEARCHED_KEYS = 2000;
const SEARCH_MS = 4000;
/** What a gateway answers where an order is asked for. */
const NOT_HERE = 501;

/** What stands for itself in a pattern. */
const escaped = (text) => text.replace(/[*?[\]\\]/g, "\\$&");

/** The levels under one question: `kind` is "prefix", "text" or "pattern"; with a delimiter, a tree. */
export class Source {
  constructor({ kind, text, delimiter }) {
    Object.assign(this, { kind, text, delimiter: kind === "prefix" && delimiter ? delimiter : null });
    this.stopper = new AbortController();
    this.root = this.level(kind === "prefix" ? text : "");
    this.took = 0;
    this.isUnordered = false;
  }

  level(prefix) {
    return { prefix, folders: [], items: [], open: new Map(), total: 0, next: null, loaded: false, failed: false, loading: null };
  }

  /** Gives up what is on its way. */
  stop() {
    this.stopper.abort();
  }

  /** Loads the first page of a level, or the next one. */
  load(level) {
    level.loading ??= (this.kind === "prefix" ? this.page(level) : this.search(level)).finally(() => (level.loading = null));
    return level.loading;
  }

  async page(level) {
    await firstLook;
    if (isGateway()) return this.unordered(level);
    const begun = performance.now();
    const query = { order: "name", prefix: level.prefix || null, delimiter: this.delimiter, after: level.next, limit: PAGE_KEYS };
    let page;
    try {
      page = await getJson(withQuery("kv/", query), { signal: this.stopper.signal });
    } catch (error) {
      if (error.status !== NOT_HERE) throw error;
      return this.unordered(level);
    }
    this.took = performance.now() - begun;
    level.folders.push(...page.folders);
    level.items.push(...page.items);
    level.total = page.keys_total;
    level.next = page.next;
    level.loaded = true;
  }

  /** An engine has no order of keys, so no tree and no total. */
  unordered(level) {
    this.delimiter = null;
    this.isUnordered = true;
    return this.search(level);
  }

  async search(level) {
    const match = { text: `*${escaped(this.text)}*`, pattern: this.text, prefix: null }[this.kind];
    const prefix = this.kind === "prefix" ? level.prefix || null : null;
    const begun = performance.now();
    const aim = level.items.length + SEARCHED_KEYS;
    do {
      const page = await getJson(withQuery("kv/", { match, prefix, details: true, cursor: level.next, limit: PAGE_KEYS }), { signal: this.stopper.signal });
      level.items.push(...page.items);
      level.next = page.cursor;
    } while (level.next !== null && level.items.length < aim && performance.now() - begun < SEARCH_MS);
    level.items.sort((one, other) => (one.key < other.key ? -1 : 1));
    level.total = level.items.length;
    level.loaded = true;
    this.took = performance.now() - begun;
  }

  /** Opens a folder, or closes it. */
  async toggle(level, prefix) {
    if (level.open.has(prefix)) {
      level.open.delete(prefix);
      return;
    }
    const child = this.level(prefix);
    level.open.set(prefix, child);
    try {
      await this.load(child);
    } catch (error) {
      level.open.delete(prefix);
      throw error;
    }
  }

  /** Loads all anew that is loaded; the rows of before are shown until it is here. */
  async renewed() {
    const fresh = new Source(this);
    const renew = async (old, level) => {
      do await fresh.load(level);
      while (level.next !== null && level.items.length + level.folders.length < old.items.length + old.folders.length);
      for (const [prefix, child] of old.open) {
        if (!level.folders.some((folder) => folder.prefix === prefix)) continue;
        const made = fresh.level(prefix);
        level.open.set(prefix, made);
        await renew(child, made);
      }
    };
    const begun = performance.now();
    await renew(this.root, fresh.root);
    fresh.took = performance.now() - begun;
    return fresh;
  }

  /** Whether every key of the question is loaded. */
  isComplete() {
    return this.root.loaded && this.root.next === null && this.delimiter === null;
  }

  /** The rows as they are shown, sorted by "key", "value_bytes" or "expires_at_ms". */
  rows(sort, isDown) {
    const out = [];
    const compare = (one, other) => {
      const [a, b] = [one[sort] ?? Infinity, other[sort] ?? Infinity];
      return (a < b ? -1 : a > b ? 1 : one.key < other.key ? -1 : 1) * (isDown ? -1 : 1);
    };
    const walk = (level, depth) => {
      const items = sort === "key" && !isDown ? level.items : [...level.items].sort(compare);
      const folders = sort === "key" && isDown ? [...level.folders].reverse() : level.folders;
      for (const folder of folders) {
        const child = level.open.get(folder.prefix);
        out.push({ folder, level, depth, isOpen: Boolean(child), base: level.prefix });
        if (child) walk(child, depth + 1);
      }
      for (const item of items) out.push({ item, level, depth, base: this.delimiter ? level.prefix : "" });
      if (level.next !== null && depth > 0) out.push({ more: level, depth, level });
    };
    walk(this.root, 0);
    return out;
  }
}
