// The form of a spec. It has no model of its own: every change is an edit of the text, and the text fills it again.
import {whyNot} from "./availability.js";
import {claimsPart} from "./claims_form.js";
import {el, silently} from "./dom.js";
import {FieldControl, labelOf, named, PLAIN} from "./field_control.js";
import {t, wordsOr} from "./words.js";

// Which settings stand in the form without being written; all others can be added.
const USUAL = {
  model: ["name"], data: ["train", "eval_fraction", "cutoff"], train: ["steps", "batch_size", "learning_rate"],
  search: ["trials", "sampler"], finalists: ["seeds"], resources: ["gpus", "concurrent"], tracking: ["wandb"],
};
const OPEN = ["model", "data", "train"];

export class SpecForm {
  /** `fields`: as /new/fields gives them; `change(edit)` edits the text; `jump(path)` shows a value in the text. */
  constructor(frame, fields, {change, jump, suggestions}) {
    Object.assign(this, {frame, fields, change, jump, suggestions});
    this.rules = [];
    this.controls = [];
    this.defaults = new Map();
    this.opened = new Map();
    this.folds = new Map();
  }

  /** Shows the values of a text; controls are made anew only where the text has other parts than before. */
  update(tree) {
    this.tree = tree ?? {};
    const shape = JSON.stringify(this.shape(this.tree));
    if (shape !== this.shown) {
      this.shown = shape;
      const [path, before] = this.controls.find(([, control]) => control.element.contains(document.activeElement)) ?? [];
      const held = before?.held();
      this.controls = [];
      silently(() => this.frame.replaceChildren(...this.parts()));
      for (const [each, control] of this.controls) control.update(at(this.tree, each));
      if (held) this.controls.find(([each]) => each === path)?.[1].resume(held);
      return;
    }
    for (const [path, control] of this.controls) control.update(at(this.tree, path));
  }

  /** What of the values decides which controls there are. */
  shape(tree) {
    const keys = (value) => (isMapping(value) ? Object.keys(value) : typeof value);
    const entries = (part) => (Array.isArray(tree[part]) ? tree[part].map((entry) => [entry?.kind, ...Object.entries(entry ?? {})
      .map(([key, value]) => (this.fields.overrides.includes(key) ? [key, keys(value)] : key))]) : null);
    return [Object.keys(this.fields.sections).map((section) => keys(tree[section])), entries("stages"), entries("methods"), Array.isArray(tree.claims) ? tree.claims.map((claim) => claim?.kind) : typeof tree.claims, [...this.opened], this.version ?? 0];
  }

  /** Takes the rules of what can't work on this machine. */
  refuse(rules) {
    this.rules = rules;
    if (rules.length) this.refresh();
  }

  /** All controls are made anew. */
  refresh() {
    this.version = (this.version ?? 0) + 1;
    this.update(this.tree);
  }

  parts() {
    const order = ["model", "data", "stages", "methods", "train", "search", "finalists", "resources", "tracking", "report"];
    const known = [...order, ...Object.keys(this.fields.sections).filter((name) => !order.includes(name))];
    return [this.general(), ...known.map((part) => (part in this.fields.entries ? this.entries(part) : this.section(part))), claimsPart(this)];
  }

  general() {
    const fields = ["name", "question"].map((name) => ({...PLAIN, name, kind: "text", title: t(`new.label_${name}`), help: t(`new.help_${name}`)}));
    return el("div", {class: "form-part"}, ...fields.map((field) => this.control(field, field.name)));
  }

  section(part, prefix = "") {
    const path = prefix + part;
    const value = at(this.tree, path);
    const details = this.details(path, part in this.fields.sections ? t(`new.part_${part}`) : part, !prefix && OPEN.includes(part));
    const help = this.fields.section_help[part];
    if (Array.isArray(value) || (isMapping(value) && "compare" in value)) {
      details.append(el("p", {class: "notice"}, t("new.compared_in_text"), " ", this.jumpButton(path)));
      return details;
    }
    details.append(...this.settings(this.fields.sections[part] ?? [], path, isMapping(value) ? value : {}, prefix ? [] : USUAL[part] ?? []));
    if (help) details.append(el("details", {class: "about"}, el("summary", {}, t("new.about", {part})), el("p", {}, help)));
    return details;
  }

  /** The controls of what is written or usual, and a list of what can be added. */
  settings(fields, path, value, usual) {
    for (const field of fields) this.defaults.set(`${path}.${field.name}`, field.default);
    const alternatives = {steps: "epochs", name: "path"};
    const shown = fields.filter((field) => field.name in value
      || (usual.includes(field.name) && !(alternatives[field.name] in value)) || this.opened.has(`${path}.${field.name}`));
    const others = fields.filter((field) => !shown.includes(field));
    // What the text has and no class names: a slip, or an option that a method hands on to a library.
    const further = Object.keys(value).filter((key) => key !== "kind" && !fields.some((field) => field.name === key) && !this.fields.overrides.includes(key));
    shown.push(...further.map((name) => ({...PLAIN, name, kind: "yaml", help: ""})));
    const add = el("select", {class: "add-setting", "aria-label": t("new.add_setting"), onchange: () => {
      this.opened.set(`${path}.${add.value}`, true);
      this.update(this.tree);
      this.frame.querySelector(`[data-path="${CSS.escape(`${path}.${add.value}`)}"] :is(input, select)`)?.focus();
    }}, el("option", {value: ""}, t("new.add_setting")), ...others.map((field) => el("option", {value: field.name, title: field.help}, named(field.name, wordsOr(`fields.label_${partOf(path)}_${field.name}`, "")))));
    return [...shown.map((field) => this.control(field, `${path}.${field.name}`)), others.length ? add : null].filter(Boolean);
  }

  control(field, path) {
    const part = partOf(path);
    field = {...field, title: labelOf(field.name, wordsOr(`fields.label_${part}_${field.name}`, field.title ?? "")), help: wordsOr(`fields.help_${part}_${field.name}`, field.help)};
    const valueOf = (other) => at(this.tree, other) ?? this.defaults.get(other);
    const control = new FieldControl(field, path, {change: this.change, suggestions: this.suggestions(path),
      unavailable: (option) => whyNot(this.rules, path, field, option, valueOf)});
    this.controls.push([path, control]);
    control.element.dataset.path = path;
    return control.element;
  }

  entries(part) {
    const details = this.details(part, t(`new.part_${part}`), true);
    const kinds = this.fields.entries[part];
    const list = Array.isArray(this.tree[part]) ? this.tree[part] : [];
    details.append(...list.map((entry, index) => this.entry(part, entry ?? {}, index)));
    const add = el("select", {"aria-label": t(`new.add_${part}`), onchange: () => {
      this.change({op: "add", path: part, value: {kind: add.value}});
      add.value = "";
    }}, el("option", {value: ""}, t(`new.add_${part}`)), ...Object.entries(kinds).map(([kind, {help}]) => el("option", {value: kind, title: help}, named(kind, wordsOr(`fields.kind_${kind}`, "")))));
    details.append(add);
    return details;
  }

  entry(part, entry, index) {
    const path = `${part}[${index}]`;
    const kind = this.fields.entries[part][entry.kind];
    const frame = el("fieldset", {class: `entry method-${entry.kind}`}, el("legend", {}, entry.name ? `${entry.name} (${entry.kind})` : entry.kind ?? "?"));
    const buttons = el("span", {class: "entry-buttons"}, this.jumpButton(path),
      el("button", {type: "button", class: "button quiet small", "aria-label": t("new.remove_entry", {name: entry.kind}), onclick: () => this.change({op: "remove", path})}, "×"));
    frame.append(buttons);
    if (!kind) {
      // A class of one's own, of which this page knows no fields: what the text has of it. Without a kind nothing is known.
      if (entry.kind?.includes?.(":")) frame.append(...this.settings([], path, entry, []));
      return frame;
    }
    frame.append(...this.settings(kind.fields, path, entry, []));
    for (const section of this.fields.overrides) {
      if (section in entry || this.opened.has(`${path}.${section}`)) frame.append(this.section(section, `${path}.`));
    }
    frame.append(this.ownSections(path, entry), el("details", {class: "about"}, el("summary", {}, t("new.about", {part: entry.kind})), el("p", {}, kind.help)));
    return frame;
  }

  ownSections(path, entry) {
    const others = this.fields.overrides.filter((name) => !(name in entry) && !this.opened.has(`${path}.${name}`));
    const add = el("select", {class: "add-setting", "aria-label": t("new.add_own"), onchange: () => {
      this.opened.set(`${path}.${add.value}`, true);
      this.update(this.tree);
    }}, el("option", {value: ""}, t("new.add_own")), ...others.map((name) => el("option", {value: name}, name)));
    return add;
  }

  /** A part that can be folded. One that is made anew is as open as the one before is now: its toggle event may be yet to come. */
  details(key, title, open) {
    const details = el("details", {class: "form-part", open: this.folds.get(key)?.open ?? open}, el("summary", {}, title));
    this.folds.set(key, details);
    return details;
  }

  jumpButton(path) {
    return el("button", {type: "button", class: "button quiet small", onclick: () => this.jump(path)}, t("new.in_text"));
  }
}

/** The part of the spec that a path's settings belong to: train of methods[0].train.steps, methods of methods[0].rank. */
const partOf = (path) => path.match(/^(?:\w+\[\d+\]\.)?(model|data|train|search|finalists|resources|tracking|report)\b/)?.[1] ?? path.match(/^\w*/)[0];

function isMapping(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** The value at a path such as methods[1].rank; undefined where nothing is written. */
export function at(tree, path) {
  let node = tree;
  for (const key of path.matchAll(/[^.[\]]+/g)) {
    if (node === null || typeof node !== "object") return undefined;
    node = node[key[0]];
  }
  return node;
}
