// What was typed and is not saved: kept for each key for as long as the tab lives, over views, keys and reloads.

const PREFIX = "pykv-draft:";
let unkept = 0;

/** The draft of a key: its text, its form, and the version that it began from; or null. */
export function draftOf(key) {
  const text = sessionStorage.getItem(PREFIX + key);
  return text === null ? null : JSON.parse(text);
}

/** Keeps a draft. Where the browser has no room for it, leaving the page asks first. */
export function keepDraft(key, draft) {
  try {
    sessionStorage.setItem(PREFIX + key, JSON.stringify(draft));
    unkept = 0;
  } catch {
    unkept = 1;
  }
}

/** Forgets it: it was saved, or is not wanted. */
export function dropDraft(key) {
  sessionStorage.removeItem(PREFIX + key);
  unkept = 0;
}

/** The keys that have one. */
export const drafted = () => Object.keys(sessionStorage).filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length));

window.addEventListener("beforeunload", (event) => {
  if (unkept) event.preventDefault();
});
