// The cluster as this node sees it, and what an administrator does to it.

import { getJson, node, request, token } from "./api.js";
import { button, dialog, el, every, field, save, toast } from "./ui.js";
import { bytes, count, ms, span } from "./format.js";

const POLL_MS = 2000;
const COMPACTION_POLL_MS = 300;

export class Cluster {
  constructor() {
    this.facts = el("dl", { class: "facts grid", id: "node-facts" });
    this.state = el("p", { class: "words", id: "role" });
    this.followers = el("tbody");
    this.others = el("section", { class: "card", "aria-label": "Followers", hidden: true }, el("h3", {}, "Followers"),
      el("div", { class: "scroll" }, el("table", { id: "followers" },
        el("thead", {}, el("tr", {}, ["Address", "Offset", "Behind", "Lag", "Last heard"].map((name, at) => el("th", { scope: "col", class: at ? "number" : "" }, name)))), this.followers)));
    this.members = el("tbody");
    this.election = el("section", { class: "card", "aria-label": "Cluster", hidden: true }, el("h3", {}, "Cluster"),
      el("div", { class: "scroll" }, el("table", { id: "members" },
        el("thead", {}, el("tr", {}, ["Node", "Role", "Term", "Offset", "Behind", "May take over"].map((name, at) => el("th", { scope: "col", class: at > 1 && at < 5 ? "number" : "" }, name)))), this.members)),
      this.electionNote = el("p", { class: "note" }));
    this.progress = el("p", { class: "note", role: "status", id: "compaction" });
    this.promotion = button("Promote…", () => this.promote(), { id: "promote", class: "danger", hidden: true });
    const actions = el("section", { class: "card", "aria-label": "Administration" }, el("h3", {}, "Administration"),
      el("div", { class: "buttons left" },
        button("Compact the log", () => this.compact(), { id: "compact" }),
        button("Download a backup", () => this.backup(), { id: "backup" }), this.promotion),
      this.progress);
    this.element = el("div", { class: "cluster" }, el("section", { class: "card", "aria-label": "This node" }, el("h3", {}, "This node"), this.state, this.facts), this.election, this.others, actions);
    this.poll = every(POLL_MS, () => this.refresh());
    node.addEventListener("up", () => this.poll.now());
    node.addEventListener("token", () => this.poll.now());
  }

  async show() {
    this.poll.start();
  }

  hide() {
    this.poll.stop();
  }

  async refresh() {
    this.status = await getJson("status", { quiet: true });
    this.draw(this.status);
    const isElected = Boolean(this.status.replication?.cluster);
    this.election.hidden = !isElected;
    if (isElected) this.drawElection(await getJson("cluster", { quiet: true }));
  }

  /** The nodes of a cluster in which etcd decides who is primary. */
  drawElection(view) {
    this.members.replaceChildren(...view.members.map((member) => memberRow(member)));
    const notes = [view.paused && "Takeovers are paused.", view.failsafe && "This node is primary without etcd: all others confirm it.",
      view.etcd_error && `etcd does not answer: ${view.etcd_error}`];
    this.electionNote.textContent = notes.filter(Boolean).join(" ");
  }

  draw(status) {
    if (status.engine) return this.drawEngine(status);
    const { log, replication } = status;
    const isReplica = status.role === "replica";
    const primary = replication?.primary;
    this.state.replaceChildren(...(isReplica ? ["A replica of ", primary ? el("a", { href: urlOf(primary, "#cluster"), id: "primary", rel: "noreferrer" }, primary) : "no primary that it knows of", `. ${STATES[replication.state] ?? replication.state}`]
      : ["The primary: it takes writes."]));
    if (replication?.error) this.state.append(el("span", { class: "wrong" }, ` ${replication.error}`));
    const facts = [
      ["Address", status.address ?? location.host],
      ["Role", status.role],
      ["Term", count(log.term)],
      ["Health", status.health],
      ["Offset", count(log.offset)],
      ["Synced", log.synced === log.offset ? "all of it" : `up to ${count(log.synced)}`],
      ["Synced when", log.fsync],
      ["Up for", span(status.uptime_seconds)],
      ["Version", status.version],
      ["Memory", status.resident_bytes ? bytes(status.resident_bytes) : "not known"],
      ["Log id", log.id],
      ["Digest", log.digest ?? "not for this token"],
    ];
    if (isReplica) {
      const heard = replication.primary_heard_ms;
      facts.splice(4, 0, ["Behind", behind(replication.lag_bytes, replication.lag_ms)],
        ["Primary heard", heard === null || heard === undefined ? "not yet" : `${ms(heard)} ago`]);
      if (typeof replication.snapshot_bytes === "number") facts.splice(4, 0, ["Snapshot", `${bytes(replication.snapshot_bytes)} have come`]);
      if (replication.failover_after_seconds) facts.splice(6, 0, ["Takes over after", span(replication.failover_after_seconds)]);
    } else if (replication?.successors?.length) {
      facts.splice(4, 0, ["Takes over", replication.successors.map(successor).join(", ")]);
    }
    this.facts.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
    this.others.hidden = !replication || (isReplica && !replication.followers?.length);
    this.followers.replaceChildren(...(replication?.followers?.length ? replication.followers.map((follower) => row(follower)) : [el("tr", {}, el("td", { colspan: "5", class: "note" }, "None."))]));
    this.promotion.hidden = !isReplica || Boolean(replication?.cluster);
    if (status.compaction) this.progress.textContent = compaction(status.compaction);
  }

  /** A gateway: the servers of the engine that holds its entries. */
  drawEngine(status) {
    const { engine } = status;
    this.state.replaceChildren(`A gateway to ${engine.url}: what a node alone has is not here.`);
    const facts = [["Health", status.health], ["Up for", span(status.uptime_seconds)], ["Version", status.version],
      ...engine.servers.map((server) => [server.address, server.error ?? `${server.role}, ${server.version}, ${count(server.slots)} slots, ${count(server.keys)} keys, ${bytes(server.used_bytes)}, ${count(server.hits)} hits, ${count(server.misses)} misses, ${count(server.errors)} errors`])];
    this.facts.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
    this.others.hidden = true;
    this.promotion.hidden = true;
  }

  /** Begins a compaction and follows it to its end. */
  async compact() {
    const { job } = await (await request("POST", "compact")).json();
    for (;;) {
      await this.refresh();
      const { running, last } = this.status.compaction;
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
    // Where one is wanted, it is asked for here.
    await request("HEAD", "backup");
    if (token() === null) {
      const link = el("a", { href: "backup", download: name, hidden: true });
      document.body.append(link);
      link.click();
      link.remove();
      return;
    }
    const response = await request("GET", "backup");
    save(await response.blob(), name);
  }

  async promote() {
    const name = this.status.address ?? location.host;
    const typed = el("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "none", id: "promote-name" });
    const content = el("div", {},
      el("p", {}, "The primary holds its writers until this node has all of its log, and steps down. Nothing is lost. Where the primary cannot be reached, nothing happens: pykv promote --force promotes without it."),
      this.status.replication?.lag_bytes ? el("p", { class: "wrong" }, `It is ${bytes(this.status.replication.lag_bytes)} behind.`) : null,
      field(`Type ${name} to go on`, typed));
    const sure = await dialog("Promote this node?", content, [{ label: "Cancel", value: null }, { label: "Promote", value: "yes", kind: "danger" }], {
      check: () => (typed.value.trim() === name ? null : `This is not ${name}.`),
    });
    if (!sure) return;
    const { term } = await (await request("POST", "promote")).json();
    toast(`It is the primary, of term ${count(term)}.`);
    await this.refresh();
  }
}

const STATES = {
  connecting: "It is looking for it.",
  snapshot: "It is fetching a snapshot, and answers no reads yet.",
  streaming: "It follows it.",
  stopped: "It has stopped following it.",
};

const behind = (lagBytes, lagMs) =>
  lagBytes === null || lagBytes === undefined ? "not known" : `${bytes(lagBytes)}${lagMs === null || lagMs === undefined ? "" : `, ${ms(lagMs)}`}`;

function row(follower) {
  const heard = follower.last_heard_ms;
  return el("tr", {}, el("td", { class: "key" }, el("a", { href: urlOf(follower.address, "#cluster"), rel: "noreferrer" }, follower.address)),
    [count(follower.offset), bytes(follower.lag_bytes ?? 0), follower.lag_ms === null || follower.lag_ms === undefined ? "–" : ms(follower.lag_ms),
      heard === null || heard === undefined ? "–" : `${ms(heard)} ago`].map((text) => el("td", { class: "number" }, text)));
}

function memberRow(member) {
  const may = member.obstacle ? `No: ${member.obstacle}` : member.role === "primary" ? "–" : member.standby ? "Yes, it has every write" : "Yes";
  return el("tr", {}, el("td", { class: "key" }, el("a", { href: urlOf(member.node, "#cluster"), rel: "noreferrer" }, member.node)),
    el("td", {}, member.role ?? "–"),
    [member.term === null ? "–" : count(member.term), member.offset === null ? "–" : count(member.offset),
      member.lag_bytes === null || member.role === "primary" ? "–" : bytes(member.lag_bytes)].map((text) => el("td", { class: "number" }, text)),
    el("td", {}, may));
}

/** A replica that takes over by itself. While it is away, no write that waits for replicas is acknowledged. */
const successor = ({ address, connected }) => (connected ? address : `${address} (away: writes that wait for replicas fail)`);

/** The page of another node; what is no address leads nowhere. */
function urlOf(address, hash) {
  const scheme = location.protocol === "https:" ? "https:" : "http:";
  return /^[\w.-]+:\d+$|^\[[0-9a-f:.]+\]:\d+$/i.test(address) ? `${scheme}//${address}/${hash}` : hash;
}

function compaction({ running, last }) {
  if (running) {
    const part = running.entries_total ? ` of ${count(running.entries_total)}` : "";
    return `Compacting: ${count(running.entries)}${part} entries, ${bytes(running.bytes)}.`;
  }
  if (!last) return "The log was not compacted since the node was started.";
  if (last.error) return `The last compaction failed: ${last.error}`;
  return `Last compacted from ${bytes(last.bytes_before)} to ${bytes(last.bytes_after)} in ${ms(last.seconds * 1000)}.`;
}
