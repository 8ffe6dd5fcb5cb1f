// The frame: which view is shown, how the node is, and the question for a token.

import { getJson, node, onToken, setToken, token } from "./api.js";
import { Cluster } from "./cluster.js";
import { Console } from "./console.js";
import { Dashboard } from "./dashboard.js";
import { Explorer } from "./explorer.js";
import { button, dialog, el, every, field, tell } from "./ui.js";

const HEALTH_EVERY_MS = 5000;
const VIEWS = { explorer: Explorer, console: Console, dashboard: Dashboard, cluster: Cluster };

const main = document.getElementById("main");
const banner = document.getElementById("banner");
const nodeLine = document.getElementById("node");
const made = {};
let current = null;
let isDown = false;

/** The view that the address names; each is made when it is first seen, and kept. */
async function route() {
  const [name, query] = location.hash.slice(1).split("?");
  const view = VIEWS[name] ? name : "explorer";
  for (const link of document.querySelectorAll("#tabs a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${view[0].toUpperCase()}${view.slice(1)} · pykv`;
  if (current !== view) {
    made[current]?.hide();
    made[view] ??= new VIEWS[view]();
    main.replaceChildren(made[view].element);
    main.dataset.view = view;
    current = view;
  }
  await made[view].show(new URLSearchParams(query));
}

/** The state of the node in the page's head. */
async function look() {
  const status = await getJson("status", { quiet: true });
  const state = status.ready ? "good" : "bad";
  const parts = [el("span", { class: `dot ${state}`, title: status.health }), el("span", { class: "address" }, status.address ?? location.host), el("span", { class: "role" }, status.role)];
  if (token()) parts.push(button("Forget token", () => setToken(null), { class: "quiet", id: "forget-token" }));
  nodeLine.replaceChildren(...parts);
  if (!isDown) warn(status.ready ? null : `The node takes no writes: ${status.health}`);
}

function warn(text) {
  if (banner.textContent !== (text ?? "")) banner.textContent = text ?? "";
  banner.hidden = text === null;
}

async function askToken(problem) {
  const input = el("input", { type: "password", autocomplete: "off", id: "token" });
  const isRefused = problem.status === 403;
  const content = el("div", {},
    el("p", {}, isRefused ? `${problem.message}.` : token() ? "The node does not know this token." : "This node asks for a token."),
    field("Token", input, "It is kept for as long as this tab is open, and nowhere else."));
  const given = await dialog(isRefused ? "Another token is needed" : "A token is needed", content, [{ label: "Cancel", value: null }, { label: "Use it", value: "use", kind: "primary" }], {
    check: () => (input.value.trim() ? null : "Type or paste a token."),
  });
  return given && input.value.trim();
}

const health = every(HEALTH_EVERY_MS, look);
onToken(askToken);
node.addEventListener("down", () => {
  isDown = true;
  warn("The node does not answer. This page asks it again and again, and goes on when it does.");
});
node.addEventListener("up", () => {
  isDown = false;
  warn(null);
  health.now();
});
node.addEventListener("token", () => health.now());
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => route().catch(tell));
route().catch(tell);
health.start();
