// What was typed and is not saved: kept for each key for as long as the tab lives, over views, keys and reloads.

const PREFIX = "pykv-draft:";

/** Drafts for which the browser has no room: they stay until the page is left, which asks first. */
const inMemory = new Map();

/** The draft of a key: its text, its form, and the version that it began from; or null. */
export function draftOf(key) {
  if (inMemory.has(key)) return inMemory.get(key);
  const text = sessionStorage.getItem(PREFIX + key);
  return text === null ? null : JSON.parse(text);
}

/** Keeps a draft. */
export function keepDraft(key, draft) {
  try {
    sessionStorage.setItem(PREFIX + key, JSON.stringify(draft));
    inMemory.delete(key);
  } catch {
    sessionStorage.removeItem(PREFIX + key);
    inMemory.set(key, draft);
  }
}

/** Forgets it: it was saved, or is not wanted. */
export function dropDraft(key) {
  sessionStorage.removeItem(PREFIX + key);
  inMemory.delete(key);
}

/** Gives the draft of a key to its new name; `renew` gives the version there for the one that it began from. */
export function renameDraft(from, to, renew) {
  const draft = draftOf(from);
  if (draft === null) return;
  keepDraft(to, { ...draft, version: renew(draft.version) });
  dropDraft(from);
}

window.addEventListener("beforeunload", (event) => {
  if (inMemory.size > 0) event.preventDefault();
});
