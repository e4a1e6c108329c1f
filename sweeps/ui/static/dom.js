// Elements made from data: texts are always text, never markup.
import {languageOf} from "./words.js";

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

/** Gives an element these children. Those that are as before stay, with all that they hold: a click whose button was pressed before and is
 * released after a push of the server reaches what it was meant for, and focus and selection stay. Entries of lists and links are told by
 * `data-key` and `href`, wherever they come to stand; all else by its place. */
export function renew(element, ...children) {
  const wanted = children.filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(child)));
  const present = [...element.childNodes];
  const keyed = new Map(present.map((node) => [keyOf(node), node]));
  const used = new Set();
  arrange(element, wanted.map((child, place) => {
    const key = keyOf(child);
    const old = key !== null ? keyed.get(key) : keyOf(present[place]) === null ? present[place] : undefined;
    if (!old || used.has(old)) return child;
    if (!old.isEqualNode(child)) {
      if (!(old instanceof Element && old.cloneNode(false).isEqualNode(child.cloneNode(false)))) return child;
      renew(old, ...child.childNodes);
    }
    used.add(old);
    return old;
  }));
}

const keyOf = (node) => (node instanceof Element ? node.dataset.key ?? node.getAttribute("href") : null);

/** Makes these nodes the children of an element, in this order; those that stand right are not moved. */
export function arrange(element, nodes) {
  const wanted = new Set(nodes);
  for (const node of [...element.childNodes]) if (!wanted.has(node)) node.remove();
  let here = element.firstChild;
  for (const node of nodes) {
    if (node === here) here = here.nextSibling;
    else if (here?.nextSibling === node) { // the one that stands here goes further down
      element.append(here);
      here = node.nextSibling;
    } else element.insertBefore(node, here);
  }
}

/** Runs `action`. Elements that lose the focus during it send no events: neither that the focus is lost, nor that their value is changed. */
export function silently(action) {
  const names = ["change", "blur", "focusout"];
  const stop = (event) => event.stopImmediatePropagation();
  for (const name of names) window.addEventListener(name, stop, true);
  try { action(); } finally { for (const name of names) window.removeEventListener(name, stop, true); }
}

/** Replaces the children of an element only where they would differ in text, so that focus and selection stay. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows what the server or a command says, in whatever language it is. */
export function setMessage(element, text) {
  setText(element, text);
  element.lang = languageOf(text);
}

/** The element of such a message. */
export const message = (name, attributes, text) => el(name, {...attributes, lang: languageOf(text)}, text);

/** A short message that goes by itself; errors stay until they are dismissed. */
export function toast(text, kind = "info") {
  const toasted = el("div", {class: `toast ${kind}`}, message("span", {}, text));
  const close = el("button", {type: "button", class: "button quiet", "aria-label": "×", onclick: () => toasted.remove()}, "×");
  toasted.append(close);
  byId("toasts").append(toasted);
  if (kind !== "error") setTimeout(() => toasted.remove(), 6000);
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
