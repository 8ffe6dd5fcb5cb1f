// A value is bytes. Here they become text, JSON or hex to look at, and bytes again.

const encoder = new TextEncoder();

/** The text that the bytes are, or null. `cut`: more would follow, so a last character may be incomplete. */
export function textOf(bytes, cut = false) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, { stream: cut });
  } catch {
    return null;
  }
}

/** The bytes of a text. */
export const bytesOf = (text) => encoder.encode(text);

/** A value in the terms of the API: text, or base64 where it is none. */
export function payloadOf(bytes) {
  const text = textOf(bytes);
  if (text !== null) return { value: text };
  let binary = "";
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return { value: btoa(binary), encoding: "base64" };
}

/** Lines of an offset, some bytes, and what of them can be read. */
export function hexDump(bytes, width = 16) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += width) {
    const row = Array.from(bytes.subarray(at, at + width));
    const pairs = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const shown = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${pairs.padEnd(3 * width - 1)}  ${shown}`);
  }
  return lines.join("\n");
}

/** Bytes as pairs of digits, 16 a line: what can be edited. */
export const hexOf = (bytes) =>
  Array.from(bytes, (byte, at) => byte.toString(16).padStart(2, "0") + (at % 16 === 15 ? "\n" : " ")).join("").trimEnd();

/** Bytes from pairs of digits, or null. */
export function bytesOfHex(text) {
  const digits = text.replace(/\s+/g, "");
  if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Whether a text is JSON: an object or a list, as a number alone gains nothing from it. */
export function isJson(text) {
  if (text === null || !/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The tokens of a JSON text: numbers and doubled names stay what they were. */
export const tokensOf = (text) => text.match(/"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s[\]{}:,"]+/g) ?? [];

/** JSON with lines and indentation. */
export function pretty(text) {
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  const tokens = tokensOf(text);
  tokens.forEach((token, at) => {
    if (token === "{" || token === "[") {
      depth += 1;
      out += token + (/^[\]}]$/.test(tokens[at + 1]) ? "" : line());
    } else if (token === "}" || token === "]") {
      depth -= 1;
      out += (/^[[{]$/.test(tokens[at - 1]) ? "" : line()) + token;
    } else if (token === ",") out += token + line();
    else out += token === ":" ? ": " : token;
  });
  return out;
}

/** JSON without any space that it does not need. */
export const compact = (text) => tokensOf(text).join("");

/** Whether a value is a whole number of 64 bits, as text: one that can be incremented. */
export function isCounter(text) {
  if (text === null || !/^-?(0|[1-9]\d{0,18})$/.test(text)) return false;
  return BigInt.asIntN(64, BigInt(text)) === BigInt(text);
}

/** How a text's lines end, as far as an editor can keep it: "\n", "\r\n", or null where it cannot. */
export function lineEnd(text) {
  if (!text.includes("\r")) return "\n";
  return /(^|[^\r])\n|\r(?!\n)/.test(text) ? null : "\r\n";
}

/** What turns the order of text or shows nothing, so that two keys look alike: the characters that the command line escapes. */
const UNSEEN = /[\u0080-\u009f\u00ad\u034f\u061c\u070f\u115f\u1160\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]|(?<![^\u0000-\u007f])[\u200c\u200d]/gu;

/** A key in one line: what would break it is shown as a sign, what nobody sees as its number. */
export const oneLine = (key) => key.replace(/\r\n|\n|\r/g, "⏎").replace(/\t/g, "⇥").replace(/[\u0000-\u001f\u007f]/g, "␀")
  .replace(UNSEEN, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
