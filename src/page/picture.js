// A picture of who follows whom: the primary above, its followers below, the lag on the lines, health as a colour.

import { el, svg } from "./ui.js";
import { urlOf } from "./state.js";
import { bytes } from "./format.js";

const BOX = { width: 208, height: 62 };
const GAP = { x: 28, y: 62 };

/** The nodes as a forest: who follows nobody that is known stands at the top. */
function layers(nodes) {
  const names = new Set(nodes.map((one) => one.address));
  const placed = new Map();
  const depth = (one, seen) => {
    if (placed.has(one.address)) return placed.get(one.address);
    const above = one.role === "replica" && names.has(one.follows) && !seen.has(one.follows) ? nodes.find((other) => other.address === one.follows) : null;
    const at = above ? depth(above, new Set([...seen, one.address])) + 1 : one.role === "primary" ? 0 : 1;
    placed.set(one.address, at);
    return at;
  };
  const rows = [];
  for (const one of nodes) (rows[depth(one, new Set())] ??= []).push(one);
  return rows.filter((row) => row !== undefined);
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** Draws nodes: `{ address, role, health, kind, follows, lag, isSelf }`; kind is "good", "near", "bad" or "unknown". */
export function picture(nodes) {
  const rows = layers(nodes);
  const widest = Math.max(1, ...rows.map((row) => row.length));
  const width = widest * (BOX.width + GAP.x) - GAP.x + 4;
  const height = rows.length * (BOX.height + GAP.y) - GAP.y + 4;
  const places = new Map();
  rows.forEach((row, y) => row.forEach((one, x) => {
    const left = (width - (row.length * (BOX.width + GAP.x) - GAP.x)) / 2;
    places.set(one.address, [left + x * (BOX.width + GAP.x), 2 + y * (BOX.height + GAP.y)]);
  }));
  const lines = nodes.filter((one) => one.role === "replica" && places.has(one.follows) && one.follows !== one.address).map((one) => {
    const [x, y] = places.get(one.address);
    const [px, py] = places.get(one.follows);
    const [fromX, fromY, toX, toY] = [px + BOX.width / 2, py + BOX.height, x + BOX.width / 2, y];
    const middle = (fromY + toY) / 2;
    const says = one.lag === null || one.lag === undefined ? "lag not known" : one.lag === 0 ? "up to date" : `${bytes(one.lag)} behind`;
    return svg("g", { class: `line ${one.kind}` }, svg("path", { d: `M${fromX} ${fromY}C${fromX} ${middle} ${toX} ${middle} ${toX} ${toY - 2}`, fill: "none" }),
      svg("text", { x: String(toX + 9), y: String(toY - 14), class: "lag" }, says));
  });
  const boxes = nodes.map((one) => {
    const [x, y] = places.get(one.address);
    const box = svg("g", { class: `box ${one.kind}${one.isSelf ? " self" : ""}`, transform: `translate(${x} ${y})` },
      svg("rect", { width: String(BOX.width), height: String(BOX.height), rx: "10" }), svg("circle", { cx: "18", cy: "21", r: "5" }),
      svg("text", { x: "32", y: "26", class: "name" }, cut(one.address, 22)),
      svg("text", { x: "18", y: "47" }, cut([one.role ?? "not known", one.health, one.isSelf ? "this node" : null].filter(Boolean).join(" · "), 32)));
    const url = one.isSelf ? null : urlOf(one.address, "#cluster");
    return url ? svg("a", { href: url, rel: "noreferrer" }, box) : box;
  });
  return el("div", { class: "picture scroll", tabindex: "0", role: "region", "aria-label": "A picture of the nodes" }, svg("svg", { viewBox: `0 0 ${width} ${height}`, width: String(width), height: String(height), role: "group", "aria-label": "Who follows whom" }, ...lines, ...boxes));
}
