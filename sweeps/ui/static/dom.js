// Elements made from data: texts are always text, never markup.

/** An element: `el("td", {class: "number", onclick: f}, "text", child)`. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A name such as `train.learning_rate`, which breaks after its parts and nowhere else where room is short. */
export function brokenName(name) {
  return el("span", {class: "parts-name"}, ...name.split(/(?<=[._])/).flatMap((part, place) => (place ? [document.createElement("wbr"), part] : [part])));
}

/** A text of a command, a library or a data set, which screen readers speak in English on pages of every language. */
export const english = (text) => el("span", {lang: "en"}, text);

/** Shows an English text after words of the page's language. */
export function setEnglish(element, text, before = "") {
  if (element.textContent !== before + text) element.replaceChildren(...[before, text ? english(text) : ""].filter(Boolean));
}

export const byId = (id) => document.getElementById(id);

/** Replaces the children of an element only where they would differ in text, so that focus and selection stay. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A short message that goes by itself; errors stay until they are dismissed. */
export function toast(text, kind = "info") {
  const message = el("div", {class: `toast ${kind}`}, text);
  const close = el("button", {type: "button", class: "button quiet", "aria-label": "×", onclick: () => message.remove()}, "×");
  message.append(close);
  byId("toasts").append(message);
  if (kind !== "error") setTimeout(() => message.remove(), 6000);
}

/** Copies text and says so on the button for a moment; selects it on the page where browsers let nothing be copied. */
export async function copy(text, button, said) {
  try {
    await navigator.clipboard.writeText(text); // absent over plain http from another host
  } catch {
    const shown = [...document.querySelectorAll("pre, code")].find((each) => each.textContent === text);
    if (shown) getSelection().selectAllChildren(shown);
    else toast(text);
    return;
  }
  const before = button.textContent;
  button.textContent = said;
  setTimeout(() => (button.textContent = before), 1500);
}
