// An answer as elements: thoughts are folded, code is set apart, all else is plain text. Nothing of it is markup.
import {el, setText} from "./dom.js";
import {t} from "./words.js";

/** The parts of a message: `{kind: "text" | "code" | "thoughts", text, open}`; `open` while the model still thinks. */
export function partsOf({content, thoughts, state}) {
  const parts = codeOf(content).filter((part) => part.text.trim());
  if (thoughts?.trim()) parts.unshift({kind: "thoughts", text: thoughts.trim(), open: state === "running" && !content.trim()});
  return parts;
}

function codeOf(text) {
  return text.split("```").map((piece, index) => index % 2
    ? {kind: "code", text: piece.replace(/^[\w+#.-]*\n/, "").replace(/\n$/, "")}
    : {kind: "text", text: piece.replace(/^\n+/, "").trimEnd()});
}

const MAKERS = {
  text: () => el("div", {class: "text"}),
  code: () => el("pre", {tabindex: "0"}, el("code")),
  thoughts: () => el("details", {}, el("summary"), el("div", {class: "text"})),
};

/** Shows a message in `root`; elements stay where their kind stays, so that what is unfolded or selected does. */
export function showText(root, message) {
  const parts = partsOf(message);
  for (const [index, part] of parts.entries()) {
    let element = root.children[index];
    if (element?.dataset.kind !== part.kind) {
      const made = MAKERS[part.kind]();
      made.dataset.kind = part.kind;
      element ? element.replaceWith(made) : root.append(made);
      element = made;
    }
    fill(element, part);
  }
  while (root.children.length > parts.length) root.lastChild.remove();
}

function fill(element, part) {
  if (part.kind === "text") return setText(element, part.text);
  if (part.kind === "code") return setText(element.firstChild, part.text);
  setText(element.firstChild, t(part.open ? "chat.thinking" : "chat.thought"));
  setText(element.lastChild, part.text);
}
