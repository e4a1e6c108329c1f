// The words of the page in the reader's language; the server puts them into the page.
const page = JSON.parse(document.getElementById("page-words").textContent);

export const rootPath = page.root_path;
export const language = page.language;

/** The text of a key that not every name has, or else what is given. */
export const wordsOr = (key, otherwise) => page.words[key] ?? otherwise;

/** Between two sentences. */
export const pause = language === "zh" ? "" : " ";

/** What the server or a command says, in the page's language where that has words for it. */
export const worded = ({message, translations}) => translations?.[language] ?? message;

const CHINESE = /[\u3400-\u9fff]/;
const NAMES = /'[^']*'|"[^"]*"|`[^`]*`|(?:^|\s)[^\s，；：。、（）]*\/[^\s，；：。、（）]*/g; // of files and settings, in whatever language

/** In which language such a message is, for screen readers: English where a page of another language has no words for it. */
export function languageOf(text) {
  const said = text.replace(NAMES, " ");
  return language === "en" || CHINESE.test(/[a-z]{2}/i.test(said) ? said : text) ? language : "en";
}

/** The text of a key, with `{name}` replaced. A missing key is a mistake of ours and throws. */
export function t(key, values = {}) {
  const text = page.words[key];
  if (text === undefined) throw new Error(`no words for ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}
