// Elements, dialogs and messages. Text goes in as text: nothing here reads HTML.

/** An element. Of `props`, `class`, `on` (listeners) and properties are set as such, the rest as attributes. */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

const PROPERTIES = new Set(["value", "disabled", "hidden", "checked", "htmlFor", "textContent", "readOnly", "onclick"]);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * A button; `press` may be asynchronous: it cannot be pressed again meanwhile. Its errors stand beside it and leave with
 * the next press. It is not disabled for that, which would take the focus from it.
 */
export function button(label, press, props = {}) {
  const made = el("button", { type: "button", ...props }, label);
  made.addEventListener("click", async () => {
    if (made.getAttribute("aria-disabled")) return;
    made.setAttribute("aria-disabled", "true");
    quiet(made);
    try {
      await press();
    } catch (error) {
      tell(error, made);
    } finally {
      made.removeAttribute("aria-disabled");
    }
  });
  return made;
}

/** A button that opens a short list of others. */
export function menu(label, buttons, props = {}) {
  const list = el("div", { class: "menu-list" }, buttons);
  const made = el("details", { class: "menu", ...props }, el("summary", { class: "button" }, label), list);
  const close = (event) => {
    if (event.type === "keydown" && event.key !== "Escape") return;
    if (event.type === "focusout" && (!event.relatedTarget || made.contains(event.relatedTarget))) return;
    if (event.type === "keydown" && made.open) {
      event.stopPropagation();
      made.querySelector("summary").focus();
    }
    made.open = false;
  };
  made.addEventListener("keydown", close);
  made.addEventListener("focusout", close);
  list.addEventListener("click", close);
  return made;
}

let fields = 0;

/** A control below its label. */
export function field(label, control, hint) {
  control.id ||= `field-${(fields += 1)}`;
  const parts = [el("label", { htmlFor: control.id }, label), control];
  if (hint) {
    parts.push(el("small", { id: `${control.id}-hint` }, hint));
    control.setAttribute("aria-describedby", `${control.id}-hint`);
  }
  return el("div", { class: "field" }, parts);
}

const STAYS_MS = 8000;

/** A message that goes by itself, with something to do perhaps. */
export function toast(text, { action = null } = {}) {
  const message = el("div", { class: "toast" }, el("span", {}, text));
  const close = () => message.remove();
  if (action) {
    message.append(button(action.label, async () => {
      close();
      await action.press();
    }));
  }
  message.append(el("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: close }, "×"));
  document.getElementById("toasts").append(message);
  setTimeout(close, action ? 3 * STAYS_MS : STAYS_MS);
}

let askForToken = () => {};

/** Says what leads out where a token is missing. */
export const onTokenWanted = (ask) => (askForToken = ask);

// The API says which header to send; here a button does that.
const plain = (error) => (error.status === 401 ? error.message.replace(/: send .*$/, "") : error.message);
const messageOf = (error) => (error.outcomeUnknown ? `It is not known whether the change was kept: ${error.message}` : sentence(plain(error)));

/** A message as a sentence: the API begins in lower case and ends without a stop. */
export const sentence = (text) => text && text[0].toUpperCase() + text.slice(1) + (/[.!?:…]$/.test(text) ? "" : ".");

/** An error as an element, with the way out of it where there is one. */
export function errorBox(error) {
  const box = el("p", { class: "wrong inline", role: "alert" }, el("span", {}, messageOf(error)));
  if (error.status === 401 || error.kind === "forbidden") box.append(button("Enter a token…", () => askForToken(), { class: "small" }));
  box.append(el("button", { type: "button", class: "quiet small", "aria-label": "Dismiss", onclick: () => box.remove() }, "×"));
  return box;
}

/** Shows an error beside what it is about; one that only says that nobody waits any more is none. */
export function tell(error, beside = null) {
  if (error.name === "AbortError") return;
  const place = beside?.isConnected ? (beside.closest("[data-errors], .tools, .buttons, .pair") ?? beside) : document.querySelector("main > *");
  const scope = beside?.closest(".card, dialog") ?? place;
  scope?.querySelectorAll(".wrong.inline").forEach((old) => old.remove());
  if (beside?.isConnected) place.after(errorBox(error));
  else document.getElementById("main").prepend(errorBox(error));
}

/** Removes the errors around an element. */
function quiet(element) {
  element.closest(".card, dialog, .dashboard, .cluster")?.querySelectorAll(".wrong.inline").forEach((old) => old.remove());
}

/** Asks, and gives the value of the button that was pressed, or null. `check` may refuse it with a text. */
export function dialog(title, content, choices, { check = () => null, wide = false, usual = null } = {}) {
  return new Promise((resolve) => {
    let result = null;
    // Enter in a field does what `usual` says, wherever that button stands.
    let entered = false;
    const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
    const buttons = choices.map(({ label, value, kind }) =>
      el("button", { type: value === null ? "button" : "submit", class: kind ?? "", value: value ?? "", onclick: value === null ? () => box.close() : null }, label));
    const form = el("form", { method: "dialog", on: { submit, keydown: (event) => (entered = usual !== null && event.key === "Enter" && event.target.matches("input")) } }, el("h2", {}, title), content, wrong, el("div", { class: "buttons" }, buttons));
    const box = el("dialog", { class: wide ? "wide" : "", "aria-label": title, on: { close: ended } }, form);
    async function submit(event) {
      event.preventDefault();
      const value = entered ? usual : event.submitter?.value ?? choices.find((choice) => choice.value !== null).value;
      entered = false;
      const refused = check(value);
      wrong.hidden = !refused;
      wrong.textContent = refused ?? "";
      if (refused) return;
      result = value;
      box.close();
    }
    function ended() {
      box.remove();
      resolve(result);
    }
    document.body.append(box);
    box.showModal();
  });
}

/** Asks whether to go on. */
export const confirm = (title, text, label) =>
  dialog(title, el("p", {}, text), [{ label: "Cancel", value: null }, { label, value: "yes", kind: "danger" }]);

/** Puts text where it can be pasted from. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page that came over plain HTTP has no clipboard, but a selection has.
    const area = el("textarea", { class: "away", readOnly: true, value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast("Copied.");
}

/** Saves bytes as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Calls `work` now and again for as long as it is wanted and somebody looks; it never runs twice at once. */
export function every(milliseconds, work) {
  let timer = null;
  let wanted = false;
  async function round() {
    clearTimeout(timer);
    timer = null;
    if (!document.hidden) await work().catch(() => {});
    if (wanted) timer = setTimeout(round, milliseconds);
  }
  document.addEventListener("visibilitychange", () => wanted && timer !== null && !document.hidden && round());
  return {
    start() {
      if (wanted) return;
      wanted = true;
      round();
    },
    now() {
      if (wanted && timer !== null) round();
    },
    stop() {
      wanted = false;
      clearTimeout(timer);
      timer = null;
    },
  };
}
