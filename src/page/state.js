// What the page knows of its node, for all views: asked every few seconds, and sent as the event "status".
//
// A replica takes no writes. Whatever writes is made by `writes`, and is greyed for as long as that holds.

import { getJson, node } from "./api.js";
import { button, every } from "./ui.js";

const HEALTH_EVERY_MS = 5000;

/** Tells "status" after each look. */
export const state = new EventTarget();

/** The last answer of `/status`, or null. */
export let status = null;

/** Whether another engine holds the entries: then there is no order of keys, no watch, and no log. */
export const isGateway = () => Boolean(status?.engine);

let looked;
/** Settled once the node was asked for the first time, whatever it said; who waits for a token waits with all others. */
export const firstLook = new Promise((resolve) => (looked = resolve));

/** Why nothing can be written here, or null. */
export function readOnly() {
  if (status?.role === "replica") return "This node is a read-only replica; its primary takes writes.";
  if (status?.access?.scope === "read") return "This token may only read.";
  return null;
}

/** Why an administrator's button cannot be pressed, or null. */
export const notAdmin = () => (status?.access && status.access.scope !== "admin" ? `This needs a token for admin; yours is for ${status.access.scope}.` : null);

function shade(element) {
  const why = readOnly();
  if (!element.dataset.title) element.dataset.title = element.title || " ";
  element.disabled = why !== null;
  element.title = why ?? element.dataset.title.trim();
}

/** Makes a control one that writes. */
export function writing(element) {
  element.dataset.write = "";
  shade(element);
  return element;
}

/** A button that writes. */
export const writeButton = (label, press, props = {}) => writing(button(label, press, props));

/** The page of another node; what is no address leads nowhere. */
export function urlOf(address, hash) {
  const scheme = location.protocol === "https:" ? "https:" : "http:";
  return /^[\w.-]+:\d+$|^\[[0-9a-f:.]+\]:\d+$/i.test(address ?? "") ? `${scheme}//${address}/${hash}` : null;
}

const look = every(HEALTH_EVERY_MS, async () => {
  try {
    take(await getJson("status", { quiet: true }));
  } finally {
    looked();
  }
});

/** Takes an answer of `/status` that a view has asked for. */
export function take(answer) {
  status = answer;
  for (const element of document.querySelectorAll("[data-write]")) shade(element);
  state.dispatchEvent(new Event("status"));
}

/** Asks anew at once. */
export const again = () => look.now();

/** Begins to look. */
export function start() {
  node.addEventListener("asking", looked);
  node.addEventListener("up", again);
  node.addEventListener("token", again);
  look.start();
}
