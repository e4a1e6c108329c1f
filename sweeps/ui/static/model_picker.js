// Choosing a model: a run and one of its cells or trials, a base model, or a folder below the data folder.
import {get} from "./api.js";
import {el, setMessage} from "./dom.js";
import {quality} from "./units.js";
import {t} from "./words.js";

let offered; // one request for all pickers of a page
const parts = new Map(); // key of a run -> its cells and trials

const offer = () => (offered ??= get("/models"));
const partsOf = (key) => {
  if (!parts.has(key)) parts.set(key, get(`/models/${key}`));
  return parts.get(key);
};

export class ModelPicker {
  /** `optional`: nothing may be chosen. `changed` is called after each choice. */
  constructor(root, {label, optional = false, changed = () => {}}) {
    this.optional = optional;
    this.changed = changed;
    this.source = el("select", {"aria-label": label, onchange: () => this.sourceChosen()});
    this.part = el("select", {"aria-label": t("evaluate.part_of_run"), hidden: true, onchange: () => this.partChosen()});
    this.folder = el("input", {"aria-label": t("evaluate.folder"), placeholder: "exports/methods", hidden: true, autocomplete: "off", spellcheck: "false", oninput: () => this.changed()});
    this.step = el("input", {"aria-label": t("evaluate.step"), placeholder: t("evaluate.step"), hidden: true, inputmode: "numeric", autocomplete: "off", oninput: () => this.changed()});
    this.note = el("small", {class: "facts"});
    root.replaceChildren(el("div", {class: "picker"}, this.source, this.part, this.step, this.folder, this.note));
  }

  /** Fills the menus; `chosen` is what is chosen at first, as `value` gives it. */
  async fill(chosen = "") {
    const {runs, bases, data_folder: folder} = await offer();
    const group = (words, options) => options.length ? el("optgroup", {label: words}, ...options) : null;
    this.source.replaceChildren(...[
      el("option", {value: ""}, this.optional ? t("evaluate.none") : t("evaluate.choose")),
      group(t("evaluate.runs"), runs.map((run) => el("option", {value: `run:${run.key}`, title: run.place}, run.name))),
      group(t("evaluate.bases"), bases.map((name) => el("option", {value: `base:${name}`}, name))),
      group(t("evaluate.folders"), [el("option", {value: "folder:"}, t("evaluate.folder_below", {folder}))]),
    ].filter(Boolean));
    if (!runs.length && !bases.length) setMessage(this.note, t("evaluate.no_models"));
    if (chosen) await this.choose(chosen);
  }

  async choose(value) {
    const [kind, key, ...rest] = value.split(":");
    this.source.value = kind === "folder" ? "folder:" : `${kind}:${key}`;
    if (this.source.selectedIndex < 0) this.source.value = "";
    if (kind === "folder") this.folder.value = value.slice("folder:".length);
    const filled = this.sourceChosen();
    const {turn} = this;
    await filled;
    if (turn !== this.turn) return; // another one was chosen meanwhile
    if (kind === "run" && rest.length) {
      const [part, step] = rest.join(":").split("@");
      this.part.value = part;
      if (this.part.selectedIndex < 0) this.part.value = "";
      if (step) this.step.value = step;
      this.partChosen();
    }
  }

  async sourceChosen() {
    const [kind, key] = this.source.value.split(":");
    this.turn = (this.turn ?? 0) + 1; // an answer that is under way is of the choice before
    this.part.hidden = kind !== "run";
    this.folder.hidden = kind !== "folder";
    this.step.hidden = true;
    setMessage(this.note, "");
    if (kind === "run") await this.fillParts(key);
    this.changed();
  }

  async fillParts(key) {
    this.part.replaceChildren(el("option", {value: ""}, t("evaluate.best_trial")));
    this.part.disabled = true;
    const {turn} = this;
    try {
      const {cells, trials} = await partsOf(key);
      if (turn !== this.turn) return; // a run was chosen meanwhile, perhaps the same one again
      this.trials = new Set(trials.map((trial) => trial.id));
      if (cells.length) this.part.append(el("optgroup", {label: t("evaluate.cells")}, ...cells.map((cell) => el("option", {value: cell}, cell))));
      if (trials.length) this.part.append(el("optgroup", {label: t("evaluate.trials")}, ...trials.map(trialOption)));
      if (!trials.length) setMessage(this.note, t("evaluate.no_trials"));
    } catch (error) {
      parts.delete(key);
      if (turn !== this.turn) return;
      setMessage(this.note, error.message);
    }
    this.part.disabled = false;
  }

  partChosen() {
    this.step.hidden = !this.trials?.has(this.part.value);
    this.step.value = this.step.hidden ? "" : this.step.value;
    this.changed();
  }

  /** What the server calls the choice; empty for none. */
  get value() {
    const source = this.source.value;
    if (source === "folder:") return `folder:${this.folder.value.trim()}`;
    if (!source.startsWith("run:") || !this.part.value) return source;
    const step = this.step.value.trim();
    return `${source}:${this.part.value}${step ? `@${step}` : ""}`;
  }

  /** What people call the choice. */
  get label() {
    const source = this.source.value;
    if (source === "folder:") return this.folder.value.trim();
    const name = this.source.selectedOptions[0]?.textContent ?? "";
    const part = this.value.slice(source.length + 1);
    return source.startsWith("run:") && part ? `${name}:${part}` : name;
  }
}

function trialOption(trial) {
  const facts = [trial.cell, trial.quality === null ? null : `${trial.quality_name} ${quality(trial.quality, trial.quality_unit)}`, t(`run.status_${trial.status}`)];
  return el("option", {value: trial.id}, `${trial.id} · ${facts.filter(Boolean).join(" · ")}`);
}
