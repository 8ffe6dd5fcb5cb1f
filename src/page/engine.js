// The servers of the engine behind a gateway: who answers, who has which part of the slots, keys and memory, and how it is used.

import { el } from "./ui.js";
import { bytes, count, percent, short } from "./format.js";

const HEADS = ["Server", "Role", "Health", "Slots", "Keys", "Memory", "Reads, per second", "Hits", "Evicted", "Errors"];
const SLOTS = 16384;

/** What the engine is like, in figures: names, values, what more is to say, and how good that is. */
export function engineFigures(status, stats) {
  const { engine } = status;
  const answering = engine.servers.filter((server) => !server.error);
  const masters = answering.filter((server) => server.role === "master");
  const sum = (of) => masters.reduce((all, server) => all + of(server), 0);
  const used = sum((server) => server.used_bytes);
  const isBounded = masters.length > 0 && masters.every((server) => server.bytes_max);
  const most = sum((server) => server.bytes_max ?? 0);
  const silent = engine.servers.length - answering.length;
  const [hits, misses] = [sum((server) => server.hits), sum((server) => server.misses)];
  return {
    health: ["Health", status.ready ? "OK" : "Not ready", status.ready ? "the engine answers" : status.health, status.ready ? "good" : "bad"],
    engine: ["Engine", engine.cluster ? "Cluster" : "One server", masters[0]?.version ?? ""],
    slots: ["Slots served", engine.cluster ? `${percent(1 - engine.slots_uncovered / SLOTS)}` : "all", engine.slots_uncovered ? `${count(engine.slots_uncovered)} have no server` : `by ${masters.length} ${masters.length === 1 ? "server" : "masters"}`, engine.slots_uncovered ? "bad" : ""],
    keys: ["Keys", short(stats?.entries ?? sum((server) => server.keys)), "on the engine's masters"],
    memory: ["Memory", bytes(used), isBounded ? `${percent(used / most)} of ${bytes(most)}` : "no limit", isBounded && used / most > 0.95 ? "near" : ""],
    hits: ["Hit ratio", hits + misses ? percent(hits / (hits + misses)) : "–", "of the engine's masters"],
    servers: ["Servers", `${answering.length} of ${engine.servers.length}`, silent ? `${silent} ${silent === 1 ? "does" : "do"} not answer` : "all answer", silent ? "near" : ""],
  };
}

/** A figure as a card. */
export const card = ([name, value, more, kind]) => el("div", { class: `card ${kind ?? ""}`.trim() }, el("dt", {}, name), el("dd", {}, value, el("small", {}, more)));

export class EngineServers {
  constructor() {
    this.body = el("tbody");
    this.note = el("span", { class: "note" });
    this.element = el("section", { class: "card", id: "engine", "aria-label": "Servers of the engine", hidden: true }, el("div", { class: "head" }, el("h3", {}, "Servers of the engine"), this.note),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Servers, a table" }, el("table", {}, el("thead", {}, el("tr", {}, HEADS.map((name, at) => el("th", { scope: "col", class: at > 2 ? "number" : "" }, name)))), this.body)));
    this.before = new Map();
  }

  /** Shows the servers that a gateway names; for a node there are none. */
  update(status) {
    const engine = status?.engine;
    this.element.hidden = !engine;
    if (!engine) return;
    this.note.textContent = engine.url;
    const servers = [...engine.servers].sort((one, other) => (one.role === other.role ? (one.address < other.address ? -1 : 1) : one.role === "master" ? -1 : 1));
    const now = performance.now();
    this.body.replaceChildren(...servers.map((server) => this.row(server, now)));
  }

  row(server, now) {
    const number = (text) => el("td", { class: "number" }, text);
    const isGone = server.error !== null;
    const kind = isGone ? "bad" : server.bytes_max && server.used_bytes / server.bytes_max > 0.95 ? "near" : "good";
    const reads = server.hits + server.misses;
    const figures = isGone ? ["–", "–", "–", "–", "–", "–", "–"] : [server.slots ? count(server.slots) : "–", count(server.keys),
      server.bytes_max ? `${bytes(server.used_bytes)}, ${percent(server.used_bytes / server.bytes_max)}` : bytes(server.used_bytes),
      this.rate(server.address, reads, now), reads ? percent(server.hits / reads) : "–", count(server.evictions), count(server.errors)];
    return el("tr", { class: kind }, el("td", { class: "address" }, server.address), el("td", {}, server.role),
      el("td", {}, el("span", { class: `health ${kind}` }, isGone ? `does not answer: ${server.error}` : kind === "near" ? "its memory is full" : "OK")), figures.map(number));
  }

  /** Reads a second since the count was another one; a gateway looks at its engine once a second. */
  rate(address, reads, now) {
    const last = this.before.get(address);
    if (last && reads >= last.reads && now - last.at < 1500) return last.text;
    const text = last && reads >= last.reads ? short((reads - last.reads) / ((now - last.at) / 1000)) : "–";
    this.before.set(address, { reads, at: now, text });
    return text;
  }
}
