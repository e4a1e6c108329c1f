// One field of the form: a value, or what stands in its place: a domain to search, or a comparison.
import {el, silently} from "./dom.js";
import {t} from "./words.js";

/** A setting of which nothing is known but what is written. */
export const PLAIN = {options: [], ways: [], default: null, required: false, minimum: null, above: null, maximum: null, below: null};

/** What people call a setting, where that is not its key. */
export const labelOf = (name, label) => (label.toLowerCase() === name.replaceAll("_", " ").toLowerCase() ? "" : label);

export const named = (name, label) => (labelOf(name, label) ? `${name} – ${label}` : name);

let numbered = 0;

const isText = (input) => Boolean(input?.matches("input:not([type=checkbox])"));

/** Whether an input has a text that has not been sent to the server yet. */
const isTyped = (input) => isText(input) && input.value !== input.defaultValue;

/** A value in YAML's flow style, as the form shows it where it isn't a plain text. */
export function flow(value) {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([key, item]) => `${key}: ${flow(item)}`).join(", ")}}`;
  }
  if (typeof value !== "string") return String(value);
  return /^[A-Za-z_./][\w./:-]*$/.test(value) && !/^(true|false|null)$/.test(value) && !value.endsWith(":")
    ? value : JSON.stringify(value);
}

/** Which way a value is written in: value, compare, or a kind of domain. */
function wayOf(field, value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return "value";
  return (field.ways.includes("int") && "int" in value ? "int" : field.ways.find((way) => way in value)) ?? "value";
}

export class FieldControl {
  /** `change(edit)` sends an edit of the text; `unavailable(option)` says why an option can't work, if it can't. */
  constructor(field, path, {change, unavailable, suggestions = null}) {
    Object.assign(this, {field, path, change, unavailable, suggestions});
    this.id = `field-${(numbered += 1)}`;
    this.slot = el("span", {class: "field-input"});
    this.way = field.ways.length ? el("select", {class: "way", "aria-label": t("new.way_of", {name: field.name}),
      onchange: () => { this.switched = true; this.show(this.way.value, undefined, true); }},
      ...["value", ...field.ways].map((way) => el("option", {value: way}, t(`new.way_${way}`)))) : null;
    this.clear = el("button", {type: "button", class: "button quiet small", "aria-label": t("new.remove_setting", {name: field.name}),
      onclick: () => this.change({op: "remove", path})}, "×");
    this.note = el("small", {class: "field-note", lang: "en"}); // what the doctor says
    this.element = el("div", {class: "form-field"},
      el("label", {for: this.id}, field.name, field.title ? el("small", {}, field.title) : null), this.way, this.slot, this.clear,
      field.help || this.limits() ? el("small", {class: "field-help"}, [field.help, this.limits()].filter(Boolean).join(" ")) : null, this.note);
  }

  limits() {
    const {minimum, above, maximum, below} = this.field;
    const said = [];
    if (minimum !== null) said.push(t("new.at_least", {limit: minimum}));
    if (above !== null) said.push(t("new.above", {limit: above}));
    if (maximum !== null) said.push(t("new.at_most", {limit: maximum}));
    if (below !== null) said.push(t("new.below", {limit: below}));
    if (this.field.default !== null && this.field.default !== undefined) said.push(t("new.default", {value: flow(this.field.default)}));
    return said.join(", ");
  }

  /** Shows a value of the text; what is being typed stays, and the focus. */
  update(value) {
    this.clear.hidden = value === undefined;
    const focused = this.slot.contains(document.activeElement) ? document.activeElement : null;
    if (focused && (isTyped(focused) || this.switched || JSON.stringify(value) === this.sent)) return;
    // An input that shows the value already is kept: what is selected in it is about to be typed over.
    if (focused?.matches("input") && !this.switched && JSON.stringify(value) === this.shown) { this.explain(); return; }
    this.switched = false;
    const held = focused ? this.held() : null;
    this.show(wayOf(this.field, value), value, false);
    if (held) this.focus(held);
  }

  /** What a person is doing in this control: the way that is chosen, what is typed, and where the focus and the selection are. */
  held() {
    const {inputs, switched, sent} = this;
    const focused = document.activeElement;
    return {switched, sent, way: this.way?.value, place: inputs.indexOf(focused), isOnWay: focused === this.way,
      typed: inputs.map((input) => (isTyped(input) || (switched && isText(input)) ? input.value : null)),
      selection: isText(focused) ? [focused.selectionStart, focused.selectionEnd] : null};
  }

  /** Goes on with what was being done in the control that stood here before this one. */
  resume(held) {
    this.sent = held.sent;
    if (held.switched) {
      this.switched = true;
      this.show(held.way, undefined, false);
    }
    if (this.way?.value === held.way) {
      for (const [place, text] of held.typed.entries()) if (text !== null && this.inputs[place]) this.inputs[place].value = text;
    }
    this.focus(held);
  }

  focus({place, isOnWay, selection}) {
    const input = isOnWay ? this.way : this.inputs[place];
    input?.focus({preventScroll: true});
    if (selection && isText(input)) input.setSelectionRange(...selection);
  }

  get inputs() { return [...this.slot.querySelectorAll("input, select")]; }

  show(way, value, focus) {
    this.shown = JSON.stringify(value);
    if (this.way) this.way.value = way;
    const key = way === "value" ? value : value?.[way];
    const inputs = way === "value" ? [this.input(key)]
      : way === "choice" || way === "compare" ? [this.listInput(way, key)] : this.rangeInputs(way, value ?? {});
    const first = inputs.flat().find((each) => each instanceof HTMLElement && each.matches?.("input, select, textarea"))
      ?? inputs[0].querySelector?.("input, select");
    if (first) first.id = this.id;
    silently(() => this.slot.replaceChildren(...inputs));
    for (const input of this.inputs.filter((each) => each.matches("input:not([type=checkbox])"))) {
      input.defaultValue = input.value;
      // Not every change is told: where the text of the draft is replaced meanwhile, the editor has the focus for a moment.
      // Where the window loses the focus, the input keeps it, and its text may be half of a value.
      input.addEventListener("blur", () => { if (isTyped(input) && document.activeElement !== input) input.dispatchEvent(new Event("change")); });
      input.addEventListener("change", () => { input.defaultValue = input.value; });
    }
    this.explain();
    if (focus) first?.focus();
  }

  send(edit, value) {
    this.sent = JSON.stringify(value);
    this.switched = false;
    this.change({op: "set", path: this.path, ...edit});
  }

  /** The input of one value. */
  input(value) {
    const {kind, options, default: usual} = this.field;
    // What a spec may leave out though each trial has it: planning takes the method's own range.
    const left = this.field.required && this.path.startsWith("train.") ? t("new.by_method") : "";
    const placeholder = usual === null || usual === undefined ? left : flow(usual);
    if (kind === "boolean" || kind === "choice") return this.select(kind === "boolean" ? [false, true] : options, value, usual);
    if (kind === "choices") return this.boxes(options, value ?? [], (chosen) => this.send({value: chosen}, chosen));
    const shown = value === undefined || value === null ? "" : kind === "text" || kind === "path" || typeof value === "string" ? String(value) : flow(value);
    const input = el("input", {value: shown, placeholder, autocomplete: "off", inputmode: kind === "number" ? "decimal" : kind === "integer" ? "numeric" : null,
      list: this.suggestions?.id, spellcheck: "false", disabled: Boolean(this.unavailable("")) && shown === "", onchange: () => this.typed(input.value)});
    input.value = shown;
    if (kind !== "yaml" || !options.length) return input;
    const names = el("datalist", {id: `names-${this.path}`}, ...options.map((option) => el("option", {value: String(option), disabled: Boolean(this.unavailable(option))})));
    input.setAttribute("list", names.id);
    return el("span", {class: "field-input"}, input, names);
  }

  typed(text) {
    const typed = text.trim();
    if (!typed) this.change({op: "remove", path: this.path});
    else if (["number", "integer", "yaml"].includes(this.field.kind) || (this.field.kind === "texts" && typed.startsWith("["))) this.send({yaml: typed}, typed);
    else this.send({value: typed}, typed);
  }

  select(options, value, usual) {
    const select = el("select", {onchange: () => {
      if (select.value === "") this.change({op: "remove", path: this.path});
      else this.send({value: JSON.parse(select.value)}, JSON.parse(select.value));
      this.explain();
    }});
    const none = usual === null || usual === undefined ? t("new.not_set") : t("new.default", {value: flow(usual)});
    select.append(el("option", {value: ""}, none));
    const known = options.some((option) => JSON.stringify(option) === JSON.stringify(value));
    for (const option of known || value === undefined || value === null ? options : [...options, value]) {
      const why = this.unavailable(option);
      const name = why ? `${flow(option)} – ${t("new.not_here")}` : flow(option);
      select.append(el("option", {value: JSON.stringify(option), disabled: Boolean(why), title: why}, name));
    }
    select.value = value === undefined || value === null ? "" : JSON.stringify(value);
    return select;
  }

  boxes(options, chosen, done) {
    const frame = el("span", {class: "boxes", role: "group", "aria-label": this.field.name});
    for (const option of options) {
      const why = this.unavailable(option);
      const box = el("input", {type: "checkbox", checked: chosen.includes(option), disabled: Boolean(why) && !chosen.includes(option), onchange: () => {
        const all = [...frame.querySelectorAll("input")];
        done(options.filter((_, index) => all[index].checked));
      }});
      frame.append(el("label", {title: why, class: why ? "unavailable" : null}, box, ` ${flow(option)}${why ? ` – ${t("new.not_here")}` : ""}`));
    }
    return frame;
  }

  listInput(way, values) {
    const {kind, options} = this.field;
    const listed = kind === "boolean" ? [false, true] : options;
    const send = (chosen) => chosen.length
      ? this.send({value: {[way]: chosen}}, {[way]: chosen}) : this.change({op: "remove", path: this.path});
    if (kind === "boolean" || kind === "choice") return this.boxes(listed, values ?? [], send);
    const input = el("input", {placeholder: t("new.list_example"), spellcheck: "false", onchange: () => {
      const typed = input.value.trim();
      if (typed) this.send({yaml: `{${way}: [${typed}]}`}, typed);
    }});
    input.value = (values ?? []).map(flow).join(", ");
    return input;
  }

  rangeInputs(way, value) {
    const ends = Array.isArray(value[way]) ? value[way] : ["", ""];
    const fields = [["low", ends[0]], ["high", ends[1]]];
    if (way !== "log") fields.push(["step", value.step ?? ""]);
    fields.push(["start", value.start ?? ""]);
    const inputs = fields.map(([name, shown]) => {
      const input = el("input", {class: "short", placeholder: t(`new.range_${name}`), "aria-label": `${this.field.name}: ${t(`new.range_${name}`)}`,
        inputmode: "decimal", onchange: () => this.sendRange(way, Object.fromEntries(inputs.map((each, index) => [fields[index][0], each.value.trim()])), value)});
      input.value = shown;
      return input;
    });
    return inputs;
  }

  sendRange(way, typed, before) {
    if (!typed.low || !typed.high) return;
    const options = ["step", "start"].filter((name) => typed[name]).map((name) => `, ${name}: ${typed[name]}`);
    if (way === "int" && before.log === true) options.push(", log: true");
    const written = `{${way}: [${typed.low}, ${typed.high}]${options.join("")}}`;
    this.send({yaml: written}, written);
  }

  /** Why the chosen option can't work here. */
  explain() {
    const {kind, options} = this.field;
    const reasons = kind === "boolean" ? [] : options
      .map((option) => [option, this.unavailable(option)]).filter(([, why]) => why).map(([option, why]) => `${flow(option)}: ${why}`);
    // A setting of which no value can work, such as the address of a service whose package is missing.
    const all = options.length || kind === "boolean" ? null : this.unavailable("");
    this.note.textContent = all ?? reasons.join("; ");
    this.note.hidden = !this.note.textContent;
  }
}
