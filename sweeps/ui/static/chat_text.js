// An answer as elements: thinking is folded, code is set apart, all else is plain text. Nothing of it is markup.
import {el, setText} from "./dom.js";
import {t} from "./words.js";

/** The parts of an answer: `{kind: "text" | "code" | "thinking", text, open}`; `open` while a block has not ended. */
export function partsOf(answer) {
  const parts = [];
  let rest = answer;
  // Some templates open the block in the prompt, so that the answer has its end alone.
  const end = rest.indexOf("</think>");
  const begin = rest.indexOf("<think>");
  if (end >= 0 && (begin < 0 || begin > end)) {
    parts.push({kind: "thinking", text: rest.slice(0, end).trim(), open: false});
    rest = rest.slice(end + "</think>".length);
  }
  for (const [index, piece] of rest.split("<think>").entries()) {
    if (index === 0) { parts.push(...codeOf(piece)); continue; }
    const [thinking, ...after] = piece.split("</think>");
    parts.push({kind: "thinking", text: thinking.trim(), open: after.length === 0});
    if (after.length) parts.push(...codeOf(after.join("</think>")));
  }
  return parts.filter((part) => part.text.trim() || part.kind === "thinking");
}

function codeOf(text) {
  return text.split("```").map((piece, index) => index % 2
    ? {kind: "code", text: piece.replace(/^[\w+#.-]*\n/, "").replace(/\n$/, "")}
    : {kind: "text", text: piece.replace(/^\n+/, "").trimEnd()});
}

const MAKERS = {
  text: () => el("div", {class: "text"}),
  code: () => el("pre", {tabindex: "0"}, el("code")),
  thinking: () => el("details", {}, el("summary"), el("div", {class: "text"})),
};

/** Shows an answer in `root`; elements stay where their kind stays, so that what is unfolded or selected does. */
export function showText(root, answer) {
  const parts = partsOf(answer);
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
