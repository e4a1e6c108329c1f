// One model of a chat: which it is, whether it is in memory, and its messages.
import {el, setMessage, setText} from "./dom.js";
import {showText} from "./chat_text.js";
import {ModelPicker} from "./model_picker.js";
import {number, seconds, size} from "./units.js";
import {t, worded} from "./words.js";

const COLOURS = {loading: "running", ready: "done", failed: "failed"};

export class Column {
  /** `data`: the column as it is saved. `actions`: load, unload, remove. */
  constructor(data, actions) {
    this.data = data;
    this.model = null;
    this.messages = el("div", {class: "messages", role: "log", tabindex: "0", "aria-label": t("chat.messages")});
    this.shown = new Map(); // message -> its element
    this.name = el("span", {class: "name"});
    this.state = el("span", {role: "status"});
    this.memory = el("span", {class: "facts"});
    this.problem = el("p", {class: "error", hidden: true});
    this.choice = el("div");
    this.picker = new ModelPicker(this.choice, {label: t("evaluate.model"), changed: () => this.showHead()});
    this.loadButton = el("button", {type: "button", class: "button", onclick: () => this.load(actions)}, t("chat.load"));
    this.unloadButton = el("button", {type: "button", class: "button", onclick: () => actions.unload(this)}, t("chat.unload"));
    this.removeButton = el("button", {type: "button", class: "button quiet", "aria-label": t("chat.remove"), onclick: () => actions.remove(this)}, "×");
    this.element = el("section", {class: "column"},
      el("div", {class: "head"}, this.name, this.state, this.memory, this.unloadButton, this.removeButton),
      this.choice, el("div", {class: "buttons"}, this.loadButton), this.problem, this.messages);
    this.filled = false; // until then, the menus do not show what is chosen
    this.showHead();
    this.picker.fill(data.choice).then(() => { this.filled = true; this.showHead(); });
    this.show();
  }

  get ready() { return this.model?.state === "ready"; }

  get last() { return this.data.messages.at(-1); }

  load(actions) {
    this.data.choice = this.picker.value;
    this.data.label = this.picker.label;
    actions.load(this);
  }

  showModel(model) {
    this.model = model ?? null;
    this.showHead();
  }

  showHead() {
    const {model} = this;
    const held = model !== null && model.state !== "failed";
    setText(this.name, held || this.data.messages.length ? this.data.label || t("chat.no_model") : "");
    this.state.replaceChildren(...(model ? [el("span", {class: `tag state-${COLOURS[model.state]}`}, t(`chat.state_${model.state}`))] : []));
    setText(this.memory, model?.bytes ? t("chat.model_memory", {memory: size(model.bytes)}) : "");
    this.choice.hidden = held;
    this.loadButton.hidden = held;
    this.loadButton.disabled = !this.filled || !this.picker.value || this.picker.value === "folder:";
    this.unloadButton.hidden = !held;
    const said = model?.message ? worded(model) : model?.note;
    this.problem.hidden = !said;
    this.problem.className = model?.message ? "error" : "notice";
    setMessage(this.problem, said ?? "");
  }

  /** Shows all messages; those that have gone are taken away. */
  show() {
    const kept = new Set(this.data.messages);
    for (const [message, element] of this.shown) {
      if (!kept.has(message)) { element.remove(); this.shown.delete(message); }
    }
    for (const message of this.data.messages) this.showMessage(message);
  }

  showMessage(message) {
    const atEnd = this.messages.scrollHeight - this.messages.scrollTop - this.messages.clientHeight < 60;
    let element = this.shown.get(message);
    if (!element) {
      element = el("div", {class: `message ${message.role}`}, el("div", {class: "body"}), el("p", {class: "facts", hidden: true}));
      this.shown.set(message, element);
      this.messages.append(element);
    }
    const [body, facts] = element.children;
    if (message.role === "user") { body.className = "body text"; setText(body, message.content); }
    else showText(body, message);
    const open = message.state === "waiting" || message.state === "running";
    element.classList.toggle("cursor", open);
    element.classList.toggle("failed", message.state === "failed");
    const words = factsOf(message);
    facts.hidden = !words;
    setMessage(facts, words);
    if (atEnd) this.messages.scrollTop = this.messages.scrollHeight;
  }
}

function factsOf({content, state, message, facts}) {
  if (state === "waiting") return t("chat.waiting");
  if (state === "failed") return t("chat.failed", {message: message ?? ""});
  if (state !== "done" && state !== "stopped") return "";
  const parts = [state === "stopped" ? t("chat.stopped") : null, content ? null : t("chat.empty")];
  if (facts?.finish_reason === "length") parts.push(t("chat.cut"));
  if (facts?.new_tokens) parts.push(t("chat.tokens", {tokens: number(facts.new_tokens)}));
  if (facts?.seconds) parts.push(seconds(facts.seconds));
  return parts.filter(Boolean).join(" · ");
}
