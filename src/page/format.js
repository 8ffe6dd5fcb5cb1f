// Numbers, sizes and times as people read them.

const decimals = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A whole number with its thousands parted. */
export const count = (number) => decimals.format(number);

/** "1 key", "2 keys". */
export const plural = (number, one, many = one + "s") => `${count(number)} ${number === 1 ? one : many}`;

const three = (number) => {
  if (number === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(number))));
  return String(Number(number.toFixed(Math.min(digits, 3))));
};

/** From this part of a unit on, three digits round up to it. */
const UP = 0.9995;

/** A number in three digits, with k, M or G behind it. */
export function short(number) {
  const size = Math.abs(number);
  for (const [least, unit, name] of [[UP * 1e9, 1e9, " G"], [UP * 1e6, 1e6, " M"], [1e4, 1e3, " k"]]) {
    if (size >= least) return three(number / unit) + name;
  }
  return size >= 100 ? count(Math.round(number)) : three(number);
}

/** A size in bytes, KiB, MiB or GiB. */
export function bytes(number) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (Math.abs(number) >= (at === 0 ? 1024 : 1023.5) && at < units.length - 1) {
    number /= 1024;
    at += 1;
  }
  return `${at === 0 ? count(number) : three(number)} ${at === 0 && number === 1 ? "byte" : units[at]}`;
}

/** Milliseconds, in µs, ms or s. */
export function ms(number) {
  if (number > 0 && number < UP) return `${three(number * 1000)} µs`;
  return number < UP * 1000 ? `${three(number)} ms` : `${three(number / 1000)} s`;
}

/** A part of 1, in percent. */
export const percent = (part) => `${three(part * 100)} %`;

/** A time to come or gone by, in its two largest units. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = units.findIndex(([, size]) => whole >= size);
  if (at < 0) return "0 s";
  const [name, size] = units[at];
  const [next, part] = units[at + 1] ?? [];
  const rest = part ? Math.floor((whole % size) / part) : 0;
  return `${Math.floor(whole / size)} ${name}${rest ? ` ${rest} ${next}` : ""}`;
}

/** The time of day. */
export const clock = (at) => new Date(at).toLocaleTimeString("en-GB");

/** How long ago a moment is. */
export const ago = (at, now = Date.now()) => (now - at < 1500 ? "just now" : `${span((now - at) / 1000)} ago`);

/** A day and a time, by the reader's clock. */
export const moment = (at) => new Date(at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
