// The cluster as this node sees it, and what an administrator does to it.

import { getJson, node, request, token } from "./api.js";
import { Diverged } from "./diverged.js";
import { EngineServers, card, engineFigures } from "./engine.js";
import { picture } from "./picture.js";
import { notAdmin, state, take } from "./state.js";
import { progress } from "./transfer.js";
import { button, dialog, el, every, field, save, sentence, toast } from "./ui.js";
import { bytes, count, ms, span } from "./format.js";

const POLL_MS = 2000;
/** How many looks at this node come to one at the others. */
const OTHERS_EVERY = 3;
const COMPACTION_POLL_MS = 300;
const LONG_CHARS = 20;
const LAG_NEAR_BYTES = 1 << 20;

export class Cluster {
  constructor() {
    this.main = el("dl", { class: "figures", id: "cluster-figures" });
    this.state = el("p", { class: "words", id: "role" }, "The node is being asked.");
    this.facts = el("dl", { class: "facts grid", id: "node-facts" });
    this.map = el("div", { id: "picture" });
    this.body = el("tbody");
    this.electionNote = el("p", { class: "note" });
    this.nodes = el("section", { class: "card", "aria-label": "Nodes" }, el("h3", {}, "Nodes"), this.map,
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Nodes, a table" }, el("table", { id: "nodes" }, el("thead", {}, el("tr", {}, ["Node", "Role", "Health", "Offset", "Behind", "Last heard", "May take over"].map((name, at) => el("th", { scope: "col", class: at > 2 && at < 6 ? "number" : "" }, name)))), this.body)), this.electionNote);
    this.bar = el("progress", { max: "1", hidden: true, "aria-label": "Compaction" });
    this.progress = el("p", { class: "note", role: "status", id: "compaction" });
    this.actions = [
      [button("Compact the log", () => this.compact(), { id: "compact" }), "Rewrites the log so that it holds each key once. The node serves meanwhile; nothing is lost."],
      [button("Download a backup", () => this.backup(), { id: "backup" }), "Saves all keys and values as one file, which pykv restore takes. The node serves meanwhile."],
      [button("Promote…", () => this.promote(), { id: "promote", class: "danger", hidden: true }), "Makes this replica the primary. The present one steps down; writes pause for a moment."],
    ];
    this.diverged = new Diverged();
    this.actions.push([this.diverged.sendFile, "Sends the writes again that a former primary set aside, but for keys that have changed since."]);
    this.administration = el("section", { class: "card", "aria-label": "Administration" }, el("h3", {}, "Administration"),
      el("div", { class: "actions" }, this.actions.map(([press, says]) => el("div", { class: "action", hidden: press.hidden }, press, el("p", { class: "note" }, says)))), this.bar, this.progress, this.diverged.file);
    this.servers = new EngineServers();
    this.name = el("h3", {}, "This node");
    const more = el("section", { class: "card", "aria-label": "This process" }, this.name, this.facts);
    this.element = el("div", { class: "cluster" }, this.main, this.state, this.servers.element, this.nodes, this.administration, this.diverged.element, more);
    this.others = [];
    this.rounds = 0;
    this.poll = every(POLL_MS, () => this.refresh());
    for (const name of ["up", "token"]) node.addEventListener(name, () => this.poll.now());
    state.addEventListener("status", () => this.allow());
  }

  async show() {
    this.rounds = 0;
    this.poll.start();
  }

  hide() {
    this.poll.stop();
  }

  allow() {
    const why = notAdmin();
    for (const [press] of this.actions.slice(0, 3)) {
      press.disabled = why !== null;
      press.title = why ?? "";
    }
  }

  async refresh() {
    this.status = await getJson("status", { quiet: true });
    take(this.status);
    this.draw();
    if (this.rounds % OTHERS_EVERY === 0 && !this.status.engine) {
      const isElected = Boolean(this.status.replication?.cluster);
      const [others, view] = await Promise.all([getJson("nodes", { quiet: true }).catch(() => null), isElected ? getJson("cluster", { quiet: true }).catch(() => null) : null]);
      this.others = others?.nodes ?? [];
      this.view = view;
      this.draw();
      await this.diverged.refresh();
    }
    this.rounds += 1;
  }

  /** All nodes that are known, by what each says, or where it does not answer what others know of it. */
  known() {
    const { status, others, view } = this;
    const { replication, log } = status;
    const own = status.address;
    const primary = status.role === "primary" ? own : replication.primary;
    const rows = new Map([[own, { address: own, isSelf: true, role: status.role, health: status.health, ready: status.ready, offset: log.offset, follows: replication.primary, lag: status.role === "replica" ? replication.lag_bytes : null, successor: Boolean(replication.failover_after_seconds) }]]);
    for (const other of others) rows.set(other.address, { ...other, follows: other.primary, lag: other.lag_bytes ?? null, isGone: Boolean(other.error) });
    const heard = (address, known) => rows.set(address, { address, ready: null, follows: own, ...known, ...rows.get(address) });
    for (const one of replication.followers ?? []) {
      heard(one.address, { role: "replica", offset: one.offset });
      const row = rows.get(one.address);
      Object.assign(row, { role: row.role ?? "replica", follows: row.follows ?? own, lag: one.lag_bytes, lagMs: one.lag_ms, heard: one.last_heard_ms, successor: one.successor });
    }
    for (const one of replication.successors ?? []) if (rows.has(one.address)) rows.get(one.address).successor = true;
    if (primary && !rows.has(primary)) rows.set(primary, { address: primary, role: "primary" });
    if (status.role === "replica" && primary) Object.assign(rows.get(primary), { heard: replication.primary_heard_ms });
    for (const member of view?.members ?? []) {
      heard(member.node, { role: member.role, offset: member.offset });
      Object.assign(rows.get(member.node), { member });
    }
    const all = [...rows.values()].map((row) => ({ ...row, role: row.role ?? null, lag: row.isGone ? null : row.lag, kind: kindOf(row), health: row.isGone ? "does not answer" : row.health ?? null }));
    return all.sort((one, other) => (other.role === "primary") - (one.role === "primary") || (one.address < other.address ? -1 : 1));
  }

  draw() {
    const { status } = this;
    if (status.engine) return this.drawEngine(status);
    const { log, replication } = status;
    const isReplica = status.role === "replica";
    const nodes = this.known();
    const followers = nodes.filter((one) => one.role === "replica" && !one.isGone);
    const slowest = Math.max(-1, ...followers.map((one) => one.lag ?? -1));
    const successors = isReplica ? (replication.failover_after_seconds ? [`this node, after ${span(replication.failover_after_seconds)}`] : []) : (replication.successors ?? []).map(({ address, connected }) => (connected ? address : `${address} (away)`));
    const elected = nodes.filter((one) => one.member?.standby).map((one) => one.address);
    const sick = nodes.filter((one) => one.kind === "bad" && !one.isSelf).length;
    const figures = [
      ["Health", status.ready ? "OK" : "Not ready", status.ready ? "takes " + (isReplica ? "reads" : "reads and writes") : status.health, status.ready ? "good" : "bad"],
      ["Role", isReplica ? "Replica" : "Primary", `term ${count(log.term)}`],
      ["Primary", isReplica ? replication.primary ?? "none" : "this node", isReplica && typeof replication.primary_heard_ms === "number" ? `heard ${ms(replication.primary_heard_ms)} ago` : "", isReplica && !replication.primary ? "bad" : ""],
      ["Lag", isReplica ? (replication.lag_bytes === null ? "not known" : bytes(replication.lag_bytes)) : slowest < 0 ? "–" : bytes(slowest), isReplica ? "behind the primary" : slowest < 0 ? "no replica" : "of the slowest replica", (isReplica ? replication.lag_bytes : slowest) > LAG_NEAR_BYTES ? "near" : ""],
      ["Takes over", successors.concat(elected).join(", ") || "nobody", successors.length || elected.length ? "if the primary fails" : "by itself; promote a replica by hand", /away/.test(successors.join()) ? "near" : ""],
      ["Other nodes", String(nodes.length - 1), sick ? `${sick} not healthy` : nodes.length > 1 ? "all healthy" : "it is alone", sick ? "bad" : ""],
    ];
    this.main.replaceChildren(...figures.map(card));
    this.state.replaceChildren(...(isReplica && replication.state !== "streaming" ? [sentence(STATES[replication.state] ?? replication.state)] : []), replication.error ? el("span", { class: "wrong" }, ` ${sentence(replication.error)}`) : "");
    this.state.hidden = this.state.textContent === "";
    this.drawNodes(nodes);
    const facts = [["Address", status.address ?? location.host], ["Offset", count(log.offset)], ["Synced", log.synced === log.offset ? "everything" : `up to ${count(log.synced)}`], ["fsync", log.fsync], ["Up for", span(status.uptime_seconds)], ["Version", status.version],
      ["Memory of the process", status.resident_bytes ? bytes(status.resident_bytes) : "not known"], ["Data directory", status.dir], ["Log id", log.id]];
    if (typeof replication.snapshot_bytes === "number") facts.unshift(["Snapshot", `${bytes(replication.snapshot_bytes)} received`]);
    this.drawFacts(facts);
    const promotion = this.actions[2][0];
    promotion.hidden = !isReplica || Boolean(replication.cluster);
    promotion.parentElement.hidden = promotion.hidden;
    this.diverged.sendFile.parentElement.hidden = isReplica;
    this.drawCompaction(status.compaction);
    this.allow();
  }

  drawNodes(nodes) {
    const shown = JSON.stringify(nodes.map(({ address, role, health, kind, follows, lag }) => [address, role, health, kind, follows, lag]));
    if (this.map.dataset.shown !== shown) {
      this.map.dataset.shown = shown;
      this.map.replaceChildren(picture(nodes));
    }
    const number = (text) => el("td", { class: "number" }, text);
    this.body.replaceChildren(...nodes.map((one) => el("tr", { class: one.kind }, el("td", { class: "address" }, one.address, one.isSelf ? el("span", { class: "note" }, " this node") : null), el("td", {}, one.role ?? "–"),
      el("td", {}, el("span", { class: `health ${one.kind}` }, one.error ? `${one.health}: ${one.error}` : one.health ?? "not known")), number(typeof one.offset === "number" ? count(one.offset) : "–"),
      number(typeof one.lag === "number" && one.role !== "primary" ? `${bytes(one.lag)}${one.lagMs ? `, ${ms(one.lagMs)}` : ""}` : "–"), number(typeof one.heard === "number" ? `${ms(one.heard)} ago` : "–"),
      el("td", {}, one.role === "primary" ? "–" : one.member ? (one.member.obstacle ? `no: ${one.member.obstacle}` : one.member.standby ? "yes, it has every write" : "yes") : one.successor ? "yes, by itself" : "by hand"))));
    const { view } = this;
    const notes = view ? [view.paused && "Takeovers are paused.", view.failsafe && "The primary stays primary without etcd while every other node confirms it.", view.etcd_error && `etcd does not answer: ${view.etcd_error}`] : [];
    this.electionNote.textContent = notes.filter(Boolean).join(" ");
  }

  drawCompaction({ running, last } = {}) {
    this.bar.hidden = !running;
    if (running) {
      this.bar.value = running.entries_total ? Math.min(1, running.entries / running.entries_total) : 0;
      this.progress.textContent = `Compacting: ${count(running.entries)} of ${count(running.entries_total)} keys, ${bytes(running.bytes)}.`;
    } else if (!last) this.progress.textContent = "The log was not compacted since the node started.";
    else if (last.error) this.progress.textContent = sentence(`The last compaction failed: ${last.error}`);
    else this.progress.textContent = `Last compacted from ${bytes(last.bytes_before)} to ${bytes(last.bytes_after)} in ${ms(last.seconds * 1000)}${last.kept_bytes ? `; ${bytes(last.kept_bytes)} of the log are kept for watchers and replicas` : ""}.`;
  }

  drawFacts(facts) {
    this.facts.replaceChildren(...facts.map(([name, value]) => el("div", { class: String(value).length > LONG_CHARS ? "wide" : "" }, el("dt", {}, name), el("dd", {}, value))));
  }

  /** A gateway: the servers of the engine that holds its entries. What a node alone has is not there. */
  drawEngine(status) {
    this.state.replaceChildren("This process is a gateway: it holds no keys, no log and no replicas. The engine has its own ways to save, compact, replicate and fail over: BGSAVE, BGREWRITEAOF, REPLICAOF and CLUSTER FAILOVER.");
    this.state.hidden = false;
    for (const part of [this.nodes, this.administration, this.diverged.element]) part.hidden = true;
    const { health, engine: kind, slots, keys, memory, servers } = engineFigures(status);
    this.main.replaceChildren(...[health, kind, slots, keys, memory, servers].map(card));
    this.servers.update(status);
    this.name.textContent = "This gateway";
    const facts = [["Up for", span(status.uptime_seconds)], ["Version", status.version], ["Memory of the process", status.resident_bytes ? bytes(status.resident_bytes) : "not known"]];
    this.drawFacts(facts);
  }

  /** Begins a compaction and follows it to its end. */
  async compact() {
    const { job } = await (await request("POST", "compact")).json();
    for (;;) {
      this.status = await getJson("status", { quiet: true });
      const { running, last } = this.status.compaction;
      this.drawCompaction(this.status.compaction);
      if (last && last.job >= job && running?.job !== job) {
        if (last.error) throw new Error(`The log could not be compacted: ${last.error}`);
        toast(`Compacted from ${bytes(last.bytes_before)} to ${bytes(last.bytes_after)}.`);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, COMPACTION_POLL_MS));
    }
  }

  /** Saves a backup. Where a token must go with the request, it passes through the memory of this page. */
  async backup() {
    const name = `pykv-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.pykv`;
    // Where a token is wanted, it is asked for here.
    await request("HEAD", "backup");
    if (token() === null) {
      const link = el("a", { href: "backup", download: name, hidden: true });
      document.body.append(link);
      link.click();
      link.remove();
      toast("The browser shows how far the download is.");
      return;
    }
    const shown = progress("Downloading a backup");
    try {
      const response = await request("GET", "backup", { signal: shown.signal });
      const about = (await getJson("stats", { quiet: true })).bytes || 1;
      const pieces = [];
      let size = 0;
      for (const reader = response.body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        pieces.push(value);
        size += value.length;
        shown.at(Math.min(1, size / about), bytes(size));
      }
      save(new Blob(pieces), name);
      toast(`The backup has ${bytes(size)}.`);
    } finally {
      shown.end();
    }
  }

  async promote() {
    const name = this.status.address ?? location.host;
    const typed = el("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "none", id: "promote-name" });
    const content = el("div", {},
      el("p", {}, "The primary holds its writers until this node has all of its log, and steps down. Nothing is lost. If the primary cannot be reached, nothing happens: pykv promote --force promotes without it."),
      this.status.replication?.lag_bytes ? el("p", { class: "wrong" }, `This node is ${bytes(this.status.replication.lag_bytes)} behind.`) : null,
      field(`Type ${name} to confirm`, typed));
    const sure = await dialog("Promote this node?", content, [{ label: "Cancel", value: null }, { label: "Promote", value: "yes", kind: "danger" }], {
      check: () => (typed.value.trim() === name ? null : `This is not ${name}.`),
    });
    if (!sure) return;
    const { term } = await (await request("POST", "promote")).json();
    toast(`This node is the primary, in term ${count(term)}.`);
    this.rounds = 0;
    await this.refresh();
  }
}

const STATES = {
  connecting: "This node is looking for its primary.",
  snapshot: "This node is fetching a snapshot, and answers no reads yet.",
  stopped: "This node has stopped following its primary.",
};

function kindOf(row) {
  if (row.isGone) return "bad";
  if (row.ready === false) return "bad";
  if (row.ready === undefined || row.ready === null) return "unknown";
  return row.lag > LAG_NEAR_BYTES ? "near" : "good";
}
