// The way to the node: requests with the token of whoever uses the page, and what comes of them.
//
// A request ends in an answer, in a Problem (the node refused it), or in an Unreachable (nobody
// answered). The last one starts a search: the node is asked until it answers again; then comes the event "up".

/** Tells "up", "down", "token", and "asking" where the user is asked for one. */
export const node = new EventTarget();

/** What the node refused, as it says it itself (RFC 9457). */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The node answered ${status}.`);
    this.status = status;
    this.kind = (body.type ?? "").replace("urn:pykv:problem:", "");
    this.version = body.version ?? null;
    this.outcomeUnknown = body.outcome === "unknown";
    this.primary = body.primary ?? null;
  }
}

/** Nobody answered. */
export class Unreachable extends Error {
  constructor() {
    super("The node does not answer.");
  }
}

const TOKEN = "pykv-token";
const SEARCH_EVERY_MS = 700;
let asking = null;
let declined = false;
let isDown = false;
let ask = async () => null;

/** The token in use; kept for as long as this tab lives, and nowhere else. */
export const token = () => sessionStorage.getItem(TOKEN);

/** Puts a token in use, or with null none. */
export function setToken(text) {
  if (text) sessionStorage.setItem(TOKEN, text);
  else sessionStorage.removeItem(TOKEN);
  declined = false;
  node.dispatchEvent(new Event("token"));
}

/** Says how the user is asked for a token. */
export const onToken = (asker) => (ask = asker);

/** What of a path or a query stands for itself: what RFC 3986 leaves unreserved. */
export const encode = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** The path of a key, or a Problem: a browser takes these two for steps in a path, however they are escaped. */
export function keyPath(key) {
  if (key === "." || key === "..") {
    throw new Problem(400, { detail: "A browser cannot name the keys “.” and “..”; the command line can." });
  }
  return `kv/${encode(key)}`;
}

/** A path with parameters; those that are null are left out. */
export function withQuery(path, parameters) {
  const pairs = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined);
  return pairs.length ? `${path}?${pairs.map(([name, value]) => `${name}=${encode(String(value))}`).join("&")}` : path;
}

/** What fetch is called with: for the console, which shows requests as they are sent. */
export function options(method, { body, type, headers = {} } = {}) {
  const all = { ...headers };
  if (type) all["Content-Type"] = type;
  if (token()) all.Authorization = `Bearer ${token()}`;
  // A redirect leads to another node, which this page may not talk to. The page tells the user.
  return { method, body, headers: all, redirect: "manual", cache: "no-store" };
}

/** One request; an answer that is no success becomes a Problem. `quiet`: nobody is asked for a token. */
export async function request(method, path, given = {}) {
  for (;;) {
    const used = token();
    const response = await send(path, { ...options(method, given), signal: given.signal });
    if (response.ok || response.status === 304) return response;
    const problem = await problemOf(response);
    const wantsToken = response.status === 401 || problem.kind === "forbidden";
    if (!wantsToken || !(await anotherToken(problem, used, given.quiet))) throw problem;
  }
}

/** The JSON of an answer. */
export const getJson = async (path, given) => (await request("GET", path, given)).json();

/** Sends JSON. */
export const sendJson = (method, path, body, given = {}) =>
  request(method, path, { ...given, body: JSON.stringify(body), type: "application/json" });

/** fetch, and word of whether the node answers. */
export async function send(path, init) {
  try {
    const response = await fetch(path, init);
    up();
    return response;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    down();
    throw new Unreachable();
  }
}

async function problemOf(response) {
  if (response.type === "opaqueredirect") {
    return new Problem(307, { detail: "This node is a replica: it takes no writes. Its primary does; the line above leads there." });
  }
  const body = await response.json().catch(() => ({}));
  return new Problem(response.status, body);
}

/** Whether it is worth trying again: another token is in use than the one that was refused. */
async function anotherToken(problem, used, quiet) {
  if (token() !== used) return true;
  if (quiet && (declined || problem.status === 403)) return false;
  node.dispatchEvent(new Event("asking"));
  asking ??= ask(problem).finally(() => (asking = null));
  const given = await asking;
  if (given) {
    if (token() === used) setToken(given);
    return true;
  }
  declined = true;
  return false;
}

function up() {
  if (!isDown) return;
  isDown = false;
  node.dispatchEvent(new Event("up"));
}

function down() {
  if (isDown) return;
  isDown = true;
  node.dispatchEvent(new Event("down"));
  const search = async () => {
    const answered = await fetch("healthz", { cache: "no-store" }).then((response) => response.ok, () => false);
    if (answered) up();
    else setTimeout(search, SEARCH_EVERY_MS);
  };
  setTimeout(search, SEARCH_EVERY_MS);
}
