// Deadlines: how long a key has, chosen in words, by presets, or as a date.

import { el, dialog, field } from "./ui.js";
import { moment, span } from "./format.js";

const UNITS = [["seconds", 1], ["minutes", 60], ["hours", 3600], ["days", 86400]];
const PRESETS = [["1 minute", 60], ["1 hour", 3600], ["1 day", 86400], ["1 week", 604800], ["30 days", 2592000]];

/** A control for a time to live; `seconds()` gives null for none, or throws what is wrong. */
export function lifetime(label) {
  const number = el("input", { type: "text", inputmode: "decimal", placeholder: "never", autocomplete: "off", name: "ttl" });
  const unit = el("select", { "aria-label": "Unit" }, UNITS.map(([name]) => el("option", { value: name }, name)));
  return {
    element: el("div", { class: "pair" }, field(label, number), unit),
    number,
    unit,
    seconds() {
      const text = number.value.trim();
      if (text === "") return null;
      const seconds = Number(text) * UNITS.find(([name]) => name === unit.value)[1];
      if (!(seconds > 0)) throw new Error("The time must be a number above 0.");
      return seconds;
    },
  };
}

/** What a date and time of the reader's clock is for a field. */
const local = (at) => new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);

/**
 * Asks for a deadline. Gives null for none of it, or what to send: `{ ttl }`, `{ expires_at_ms }`, or `{ ttl: null }` for
 * never. `present`: the deadline that there is, in ms, or null; undefined where there are several.
 */
export async function askDeadline(present, title = "When does it expire?") {
  const ttl = lifetime("Expires after");
  const date = el("input", { type: "datetime-local", step: "1", name: "date", value: present ? local(present) : "" });
  const presets = el("div", { class: "presets", role: "group", "aria-label": "Common times" }, PRESETS.map(([label, seconds]) => el("button", {
    type: "button", class: "small", onclick: () => {
      ttl.number.value = String(seconds);
      ttl.unit.value = "seconds";
      date.value = "";
      for (const [name, size] of UNITS) if (seconds % size === 0) [ttl.number.value, ttl.unit.value] = [String(seconds / size), name];
    },
  }, label)));
  const begun = date.value;
  const now = present === undefined ? null : el("p", { id: "present-deadline" }, present ? `It expires on ${moment(present)}, in ${span((present - Date.now()) / 1000)}.` : "It never expires now.");
  const content = el("div", {}, now, ttl.element, presets, field("Or on this date, by your clock", date));
  let given = null;
  const check = (choice) => {
    try {
      const seconds = ttl.seconds();
      if (choice === "never") given = { ttl: null };
      else if (seconds !== null) given = { ttl: seconds };
      else if (date.value && date.value !== begun) given = { expires_at_ms: new Date(date.value).getTime() };
      else return "Enter a time or a date.";
      return given.expires_at_ms <= Date.now() ? "This date has passed." : null;
    } catch (error) {
      return error.message;
    }
  };
  const choice = await dialog(title, content, [{ label: "Cancel", value: null }, { label: "Never expires", value: "never", kind: "plain" }, { label: "Set", value: "set", kind: "primary" }], { check, usual: "set" });
  return choice === null ? null : given;
}
