// The words of the page in the reader's language; the server puts them into the page.
const page = JSON.parse(document.getElementById("page-words").textContent);

export const rootPath = page.root_path;
export const language = page.language;

/** The text of a key that not every name has, or else what is given. */
export const wordsOr = (key, otherwise) => page.words[key] ?? otherwise;

/** The text of a key, with `{name}` replaced. A missing key is a mistake of ours and throws. */
export function t(key, values = {}) {
  const text = page.words[key];
  if (text === undefined) throw new Error(`no words for ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}
