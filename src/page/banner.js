// The banner: what holds for every view, such as that this node is a replica.

import { isGateway, readOnly, status, urlOf } from "./state.js";
import { el, sentence } from "./ui.js";

const banner = document.getElementById("banner");

/** Says it, or nothing. `here`: where on the primary's page the link leads. */
export function drawBanner(isDown, here) {
  if (isDown) return warn("bad", "The node does not answer. Retrying…");
  if (status?.role === "replica") {
    const { primary } = status.replication;
    const url = primary && urlOf(primary, here);
    return warn("info", "This node is a read-only replica. ", primary ? "Its primary takes writes: " : "It knows of no primary now.", url ? el("a", { href: url, id: "to-primary", rel: "noreferrer" }, here.includes("key=") ? `this key on ${primary}` : primary) : null, url ? "." : null);
  }
  if (status && !status.ready) return warn("bad", sentence(isGateway() ? status.health : `The node takes no writes: ${status.health}`));
  if (readOnly()) return warn("info", "Your token may only read. Enter another one to write.");
  banner.hidden = true;
}

function warn(kind, ...content) {
  const text = content.filter(Boolean).map((part) => part.textContent ?? part).join("");
  banner.className = `banner ${kind}`;
  // A text that is announced again and again is of no use to those who listen.
  if (banner.hidden || banner.textContent !== text) banner.replaceChildren(...content.filter(Boolean));
  else if (banner.querySelector("a")) banner.querySelector("a").href = content.find((part) => part?.href).href;
  banner.hidden = false;
}
