// The page of a draft: the text is the draft; the form edits it, and every pause in typing checks it.
import {get, href, post, remove, Refused} from "./api.js";
import {byId, el, setMessage, setText, toast} from "./dom.js";
import {EditQueue} from "./edit_queue.js";
import {Editor} from "./editor.js";
import {SpecForm} from "./form.js";
import {showPlan, showProblems} from "./plan_view.js";
import {DataPreview} from "./preview.js";
import {StartPanel} from "./start.js";
import {language, t} from "./words.js";

const QUIET = 400; // ms without a key before a check
const LOOK = 4000; // ms between looks for changes by another browser
const id = byId("draft").dataset.draft;
const who = crypto.randomUUID?.() ?? String(Math.random());
const draft = {version: 0, saved: null, problems: [], plan: null};
let saving = null, again = false, quiet = null, checking = null;

const editor = new Editor(byId("editor"), {label: t("new.text"), hint: t("new.editor_hint"), changed: () => changed()});
const lists = el("div", {hidden: true}, el("datalist", {id: "list-models"}), el("datalist", {id: "list-data"}));
document.body.append(lists);
const start = new StartPanel(byId("start"), {id, version: () => draft.version, ready: () => flush(), blocked});
const preview = new DataPreview(byId("preview"), {id, who, text: () => editor.text, used: (name) => edits.add({op: "set", path: "data.train", value: name})});
const edits = new EditQueue({id, frame: byId("form"), text: () => editor.text,
  made(text, state) { editor.replace(text); filled(state); },
  refused(error) { toast(error.message, "error"); form?.refresh(); }});
let form = null;

function blocked() {
  return draft.problems.some((problem) => problem.severity === "error");
}

/** After a change of the text by anybody: it is kept soon, and checked once nothing is typed for a while. */
function changed() {
  if (editor.text === draft.saved && !saving) setMessage(byId("saved"), t("new.saved"));
  else setMessage(byId("saved"), t("new.saving"));
  save();
  clearTimeout(quiet);
  quiet = setTimeout(check, QUIET);
}

/** Keeps the text; one request at a time, the newest text last. */
async function save() {
  if (saving) {
    again = true;
    return saving;
  }
  saving = keep();
  await saving;
  saving = null;
  if (again) {
    again = false;
    return save();
  }
}

async function keep() {
  await new Promise((resolve) => setTimeout(resolve, 150));
  const text = editor.text;
  if (text === draft.saved) return;
  try {
    taken(await post(`/new/${id}/text`, {text, version: draft.version}), text);
  } catch (error) {
    if (error instanceof Refused && error.key === "outdated") conflict(error.answer.newer);
    else setMessage(byId("saved"), error.message);
  }
}

/** The draft as the server has it now. */
function taken(state, text = state.text) {
  draft.version = state.version;
  draft.saved = text;
  setMessage(byId("saved"), t("new.saved"));
  setText(byId("name"), state.name);
  byId("conflict").hidden = true;
  document.title = document.title.replace(/^.* – /, `${state.name} – `);
  if (editor.text !== text) return;
  filled(state.form);
  if (state.form.problems.length) said(state.form.problems); // at once; the check will say everything
}

function filled(state) {
  byId("unreadable").hidden = !state.unreadable;
  if (state.unreadable) {
    setText(byId("unreadable"), t("new.unreadable", {line: state.unreadable.line}));
    return;
  }
  form?.update(state.tree);
  preview.stages(state.tree);
}

function conflict(newer) {
  const bar = byId("conflict");
  bar.hidden = false;
  bar.replaceChildren(el("p", {}, t("new.outdated")),
    el("p", {class: "buttons"},
      el("button", {type: "button", class: "button", onclick: () => { taken(newer); editor.replace(newer.text); filled(newer.form); }}, t("new.take_newer")),
      el("button", {type: "button", class: "button", onclick: () => { draft.version = newer.version; draft.saved = newer.text; bar.hidden = true; save(); }}, t("new.keep_mine"))));
}

/** Everything typed is kept, and the version is known. Throws where a change of the form that was under way could not be made. */
async function flush() {
  await edits.settle(() => document.activeElement?.blur?.()); // what the form has sent comes into the text first
  await save();
  while (saving) await saving;
}

async function check() {
  checking?.abort();
  const control = (checking = new AbortController());
  const text = editor.text;
  const begun = performance.now();
  byId("checking").hidden = false;
  byId("plan").setAttribute("aria-busy", "true");
  try {
    const plan = await post(`/new/${id}/check`, {text, who}, {signal: control.signal});
    if (plan.replaced || checking !== control) return;
    draft.checkedIn = performance.now() - begun;
    shown(plan);
  } catch (error) {
    if (error.name === "AbortError" || checking !== control) return;
    shown({cells: [], problems: [], failed: error.message});
  }
  byId("checking").hidden = true;
  byId("plan").removeAttribute("aria-busy");
}

/** Problems at their lines and in the list. */
function said(problems) {
  draft.problems = problems;
  const spoken = (problem) => ({...problem, message: language !== "en" && problem.kind ? `${t(problem.kind, problem.values)}\n${problem.message}` : problem.message});
  editor.mark(problems.map(spoken));
  showProblems(byId("problems"), problems, {jump: (problem) => editor.jump(problem.line, problem.column ?? 1), fix});
}

function shown(plan) {
  const order = {error: 0, warning: 1};
  said(plan.problems.sort((one, other) => order[one.severity] - order[other.severity] || (one.line ?? 0) - (other.line ?? 0)));
  const errors = draft.problems.filter((problem) => problem.severity === "error").length;
  const warnings = draft.problems.length - errors;
  setText(byId("verdict"), plan.failed ? t("new.check_failed") : errors || warnings ? t("new.found", {errors, warnings}) : t("new.no_problems"));
  byId("verdict").className = `tag ${plan.failed || errors ? "state-failed" : warnings ? "state-stopped" : "state-done"}`;
  byId("failed").hidden = !plan.failed;
  setMessage(byId("failed"), plan.failed ?? "");
  showPlan(byId("plan"), plan);
  start.update();
}

/** Applies a correction at its place, if the text there is still the one that was corrected. */
function fix(problem) {
  const {line, column, end_column: end, old, new: instead} = problem.fix;
  const lines = editor.text.split("\n");
  const row = lines[line - 1] ?? "";
  if (row.slice(column - 1, end - 1) !== old) {
    toast(t("new.fix_outdated"), "error");
    return;
  }
  lines[line - 1] = row.slice(0, column - 1) + instead + row.slice(end - 1);
  editor.replace(lines.join("\n"));
}

/** Shows the line of a value. */
async function jump(path) {
  const {form: {lines}} = await get(`/new/${id}/state`);
  if (lines[path]) editor.jump(lines[path]);
}

/** Names that an input proposes; those of data are read anew at each look. */
function suggestions(path) {
  if (path.endsWith("model.name")) return byId("list-models");
  return path.endsWith("data.train") || path.endsWith("data.eval") ? byId("list-data") : null;
}

async function lookAtData() {
  const offered = await get("/new/data");
  byId("list-data").replaceChildren(...[...offered.embedded, ...offered.registered, ...offered.files].map((value) => el("option", {value})));
  preview.offered(offered);
}

/** Takes a change that another browser made, unless something is being typed here. */
async function look() {
  if (document.hidden || saving || editor.text !== draft.saved) return;
  try {
    const state = await get(`/new/${id}/state`);
    if (state.version > draft.version && editor.text === draft.saved) {
      draft.version = state.version;
      draft.saved = state.text;
      editor.replace(state.text);
      taken(state);
    }
  } catch (error) {
    setMessage(byId("saved"), error.message);
  }
}

function tabs() {
  const all = [...document.querySelectorAll(".tabs [role=tab]")];
  const choose = (chosen) => all.forEach((tab) => {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
  });
  all.forEach((tab, index) => {
    tab.addEventListener("click", () => { choose(tab); if (tab.id === "tab-data") preview.open(); });
    tab.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (step) { const next = all[(index + step + all.length) % all.length]; next.focus(); next.click(); }
    });
  });
}

async function begin() {
  tabs();
  const [state, fields] = await Promise.all([get(`/new/${id}/state`), get("/new/fields")]);
  byId("list-models").replaceChildren(...fields.models.map((value) => el("option", {value})));
  form = new SpecForm(byId("form"), fields, {change: (change) => edits.add(change), jump, suggestions});
  editor.reset(state.text);
  taken(state);
  check();
  lookAtData();
  document.addEventListener("focusin", (event) => { if (event.target.getAttribute?.("list") === "list-data") lookAtData(); });
  setInterval(look, LOOK);
  form.refuse((await get("/new/unavailable").catch(() => ({rules: []}))).rules);
}

byId("discard").addEventListener("click", async () => {
  if (!confirm(t("new.discard_sure"))) return;
  await remove(`/new/${id}`);
  location.href = href("/new");
});
window.addEventListener("beforeunload", (event) => { if (editor.text !== draft.saved) event.preventDefault(); });
begin();
