// A text field with line numbers, and marks at the lines that have problems. Undo, find and selection are the browser's.
import {el, silently} from "./dom.js";

const INDENT = "  ";

export class Editor {
  /** `frame` gets the editor; `changed()` is called after every change, whoever made it. */
  constructor(frame, {label, hint, changed}) {
    this.area = el("textarea", {class: "code-text", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
      wrap: "off", "aria-label": label, "aria-describedby": "editor-hint"});
    this.marks = el("div", {class: "code-marks", "aria-hidden": "true"});
    this.gutter = el("div", {class: "code-gutter"});
    this.tip = el("div", {class: "code-tip", role: "tooltip", hidden: true});
    frame.append(this.gutter, el("div", {class: "code-body"}, this.marks, this.area), this.tip);
    frame.after(el("p", {class: "facts", id: "editor-hint"}, hint));
    this.problems = new Map();
    this.lines = 0;
    this.area.addEventListener("input", () => { this.number(); changed(); });
    this.area.addEventListener("scroll", () => this.follow());
    this.area.addEventListener("keydown", (event) => this.key(event));
    frame.addEventListener("mouseleave", () => this.showTip(null));
  }

  get text() { return this.area.value; }

  /** Replaces the text at the beginning, without a step of undo. */
  reset(text) {
    this.area.value = text;
    this.number();
  }

  /** Replaces what differs, as one step of undo; the focus stays where it is. */
  replace(text) {
    const before = this.text;
    if (before === text) return;
    let start = 0;
    while (start < before.length && start < text.length && before[start] === text[start]) start += 1;
    let end = 0;
    while (end < before.length - start && end < text.length - start
      && before[before.length - 1 - end] === text[text.length - 1 - end]) end += 1;
    const focused = document.activeElement;
    const {scrollTop, scrollLeft} = this.area;
    silently(() => this.area.focus({preventScroll: true})); // in a field of the form, somebody may be typing
    this.area.setSelectionRange(start, before.length - end);
    const inserted = text.slice(start, text.length - end);
    const done = inserted ? document.execCommand("insertText", false, inserted) : document.execCommand("delete");
    if (!done || this.text !== text) {
      this.area.value = text;
      this.area.dispatchEvent(new Event("input"));
    }
    this.area.scrollTo(scrollLeft, scrollTop);
    if (focused && focused !== this.area) silently(() => focused.focus({preventScroll: true}));
  }

  /** Marks lines: a list of {line, severity, message}. */
  mark(problems) {
    this.problems = new Map();
    for (const problem of problems) {
      if (!problem.line) continue;
      const line = Math.min(problem.line, Math.max(1, this.lines));
      this.problems.set(line, [...(this.problems.get(line) ?? []), problem]);
    }
    this.lines = 0;
    this.number();
  }

  /** Puts the cursor at a line and shows it. */
  jump(line, column = 1) {
    const lines = this.text.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    const at = Math.min(start + column - 1, this.text.length);
    this.area.focus();
    this.area.setSelectionRange(at, at);
    const height = this.area.scrollHeight / Math.max(1, lines.length);
    this.area.scrollTop = Math.max(0, (line - 4) * height);
    this.follow();
  }

  number() {
    const count = this.text.split("\n").length;
    if (count === this.lines) return;
    this.lines = count;
    const numbers = [], lines = [];
    for (let line = 1; line <= count; line += 1) {
      const found = this.problems.get(line);
      const worst = found && (found.some((each) => each.severity === "error") ? "error" : "warning");
      numbers.push(found ? this.marker(line, worst, found) : el("div", {class: "code-number", "aria-hidden": "true"}, String(line)));
      lines.push(el("div", {class: worst ? `code-line ${worst}` : "code-line"}, "\u00a0"));
    }
    this.gutter.replaceChildren(...numbers);
    this.marks.replaceChildren(...lines);
    this.follow();
  }

  marker(line, worst, found) {
    const message = found.map((each) => each.message).join("\n");
    const show = () => this.showTip(marker, message);
    const marker = el("button", {type: "button", class: `code-number marked ${worst}`, "aria-label": `${line}: ${message}`,
      onmouseenter: show, onfocus: show, onblur: () => this.showTip(null), onclick: () => this.jump(line)},
      el("span", {"aria-hidden": "true"}, worst === "error" ? "●" : "▲"), String(line));
    return marker;
  }

  showTip(marker, message) {
    this.tip.hidden = !marker;
    if (!marker) return;
    this.tip.textContent = message;
    this.tip.style.top = `${marker.offsetTop + marker.offsetHeight - this.area.scrollTop}px`;
  }

  follow() {
    const shift = `translateY(${-this.area.scrollTop}px)`;
    this.gutter.style.setProperty("--shift", `${-this.area.scrollTop}px`);
    for (const child of this.gutter.children) child.style.transform = shift;
    this.marks.style.transform = shift;
  }

  /** Tab indents; Escape and then Tab leaves the editor. Enter keeps the indentation. */
  key(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      this.leaves = true;
    } else if (event.key === "Tab" && !event.shiftKey && !this.leaves) {
      event.preventDefault();
      document.execCommand("insertText", false, INDENT);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const before = this.text.slice(0, this.area.selectionStart);
      const indent = before.slice(before.lastIndexOf("\n") + 1).match(/^ */)[0];
      document.execCommand("insertText", false, `\n${indent}`);
    }
    if (event.key !== "Escape") this.leaves = false;
  }
}
