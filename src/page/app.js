// The frame: which view is shown, how the node is, the token, and the keys of the keyboard.

import { node, onToken, setToken, token } from "./api.js";
import { drawBanner } from "./banner.js";
import { Cluster } from "./cluster.js";
import { Console } from "./console.js";
import { Dashboard } from "./dashboard.js";
import { Explorer } from "./explorer.js";
import { start, state, status } from "./state.js";
import { dialog, el, field, onTokenWanted, sentence, tell } from "./ui.js";

const VIEWS = { explorer: Explorer, console: Console, dashboard: Dashboard, cluster: Cluster };
const SHORTCUTS = [
  ["/", "Search keys"], ["n", "Add a key"], ["?", "Show this list"], ["1 … 4", "Explorer, Console, Dashboard, Cluster"],
  ["↑ ↓ Home End", "Move in the list; ↓ goes there from the search"], ["→ ←", "Open or close a folder"], ["Enter", "Open the key"], ["Space", "Choose the key; with Shift, all in between"],
  ["Ctrl+A", "Choose all keys that are loaded"], ["e", "Edit the key"], ["Delete", "Delete the key, with an undo"],
  ["Ctrl+Enter", "Save, in the editor"], ["Esc", "Leave the editor; what you typed stays as a draft"],
];

const main = document.getElementById("main");
const nodeLine = document.getElementById("node");
const tokenButton = document.getElementById("token-button");
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
    main.querySelectorAll(".wrong.inline").forEach((error) => error.remove());
    made[current]?.hide();
    made[view] ??= new VIEWS[view]();
    main.replaceChildren(made[view].element);
    main.dataset.view = view;
    current = view;
  }
  draw();
  await made[view].show(new URLSearchParams(query));
}

/** The state of the node in the page's head, and above the view what holds for each. */
function draw() {
  const health = isDown ? "does not answer" : status?.health ?? "";
  const good = !isDown && status?.ready;
  nodeLine.replaceChildren(el("span", { class: `dot ${good ? "good" : isDown || status ? "bad" : ""}`, role: "img", "aria-label": `Health: ${health}`, title: health }),
    el("span", { class: "address" }, status?.address ?? location.host), el("span", { class: "role" }, isDown ? "not reachable" : status?.role ?? ""));
  const scope = status?.access?.scope;
  tokenButton.textContent = token() ? `Token: ${scope ?? "refused"}` : "Token…";
  tokenButton.classList.toggle("set", Boolean(token() && scope));
  drawBanner(isDown, location.hash || "#explorer");
}

/** Asks for a token, for a refusal or by the button; gives it, or null. */
async function askToken(problem = null) {
  const input = el("input", { type: "password", autocomplete: "off", id: "token" });
  const access = status?.access;
  const may = access ? `Your token is for ${access.scope}${access.client ? `, as “${access.client}”` : ""}${access.prefixes ? `, for keys that begin with ${access.prefixes.join(", ")}` : ""}.` : null;
  const says = problem?.status === 403 ? sentence(problem.message) : problem && token() ? "The node does not know this token." : problem ? "This node asks for a token." : token() ? may ?? "The node does not know this token." : "With a token you may do what it allows. A node without tokens needs none.";
  const content = el("div", {}, el("p", {}, says), field("Token", input, "It is kept for as long as this tab is open, and nowhere else."));
  const title = problem?.status === 403 ? "Another token is needed" : problem && token() ? "This token is not known" : problem ? "A token is needed" : "Token";
  const choices = [{ label: "Cancel", value: null }, ...(token() ? [{ label: "Forget it", value: "forget", kind: "plain" }] : []), { label: "Use it", value: "use", kind: "primary" }];
  const given = await dialog(title, content, choices, { check: (choice) => (choice === "forget" || input.value.trim() ? null : "Type or paste a token."), usual: "use" });
  if (given === "forget") setToken(null);
  return given === "use" ? input.value.trim() : null;
}

async function changeToken() {
  const given = await askToken();
  if (given) setToken(given);
}

function help() {
  const rows = SHORTCUTS.map(([keys, says]) => el("div", {}, el("dt", {}, keys.split(" ").map((key) => (key === "…" ? " … " : el("kbd", {}, key)))), el("dd", {}, says)));
  dialog("Keys of the keyboard", el("dl", { class: "shortcuts" }, rows), [{ label: "Close", value: "yes", kind: "primary" }]);
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || event.target.matches("input, textarea, select")) return;
  const names = Object.keys(VIEWS);
  if (event.key === "?") help();
  else if (event.key === "/" || event.key === "n") {
    if (current !== "explorer") location.hash = "#explorer";
    setTimeout(() => (event.key === "/" ? document.getElementById("prefix")?.focus() : document.getElementById("new-key")?.click()));
  } else if (names[event.key - 1]) location.hash = `#${names[event.key - 1]}`;
  else return;
  event.preventDefault();
}

onToken(askToken);
onTokenWanted(changeToken);
tokenButton.addEventListener("click", changeToken);
document.getElementById("help").addEventListener("click", help);
document.addEventListener("keydown", pressed);
state.addEventListener("status", draw);
node.addEventListener("token", draw);
node.addEventListener("down", () => ((isDown = true), draw()));
node.addEventListener("up", () => ((isDown = false), draw()));
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => route().catch(tell));
start();
route().catch(tell);
