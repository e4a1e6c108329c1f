// The page of a trial.
import {get, href} from "./api.js";
import {Figure} from "./charts.js";
import {byId, copy, el, message, renew, setEnglish, setMessage, setText} from "./dom.js";
import {follow} from "./live.js";
import {cloneTrial, confirmAction} from "./run_actions.js";
import {valueText} from "./run_figures.js";
import {curveNames, curvesFigure, memoryFigure} from "./trial_figures.js";
import {reasonText, setQuality, statusText, stopText} from "./trial_table.js";
import {clock, gib, isShare, number, quality, seconds, size} from "./units.js";
import {language, pause, t} from "./words.js";

const {key, trial: id} = byId("trial").dataset;
const SECONDS = new Set(["setup_seconds", "train_seconds", "eval_seconds"]);
const BYTES = new Set(["room_bytes"]);
const figures = {};
let details = null, curve = null, sampled = null;

function show() {
  setText(byId("as-of"), details.as_of ? t("common.as_of", {time: clock(details.as_of)}) : "");
  const row = details.row;
  if (!row) return;
  setText(byId("state"), statusText(row));
  byId("state").className = `tag state-${row.status}`;
  setMessage(byId("doing"), row.doing ?? stopText(row.stop) ?? "");
  setText(byId("cell"), row.cell);
  setText(byId("role"), row.role === "search" ? "" : t(`run.role_${row.role}`));
  setText(byId("fact-step"), row.step === null ? "–" : row.steps ? `${row.step}/${row.steps}` : String(row.step));
  setText(byId("fact-quality"), quality(row.quality, row.quality_unit));
  setText(byId("fact-quality-name"), row.quality_name ?? "");
  setText(byId("fact-objective"), number(row.objective));
  setText(byId("fact-peak"), gib(row.peak_bytes));
  setText(byId("fact-predicted"), row.predicted_bytes ? t("trial.predicted_value", {value: gib(row.predicted_bytes)}) : "");
  setText(byId("fact-speed"), row.tokens_per_second ? `${number(Math.round(row.tokens_per_second))}` : "–");
  byId("stop").hidden = !["running", "paused", "waiting"].includes(row.status);
  byId("clone").hidden = row.role === "base";
  showPlace();
  showError();
  pairs(byId("settings"), ordered(details.settings), valueText);
  pairs(byId("facts"), Object.entries(details.facts).filter(([, value]) => value !== null), (value, name) => name === "stop_reason" ? message("span", {}, reasonText(value, details.stop_kind)) : SECONDS.has(name) ? seconds(value) : BYTES.has(name) ? gib(value) : valueText(value), (name) => t(`trial.fact_${name}`));
  const unmeasured = Object.entries(row.sets).filter(([, scored]) => scored.not_measured);
  pairs(byId("unmeasured"), unmeasured, (scored) => setQuality(scored), (name) => t("trial.on_set", {name}));
  pairs(byId("metrics"), Object.entries(details.metrics), (value, name) => quality(value, details.units[name]), (name) => name.replaceAll("_", " "));
  pairs(byId("memory-parts"), Object.entries(details.memory.parts ?? {}).filter(([, value]) => value !== null), size, (name) => t(`trial.bytes_${name}`));
  showFiles();
  draw();
}

const ordered = (settings) => {
  const first = details.columns.filter((path) => path in settings);
  return [...first, ...Object.keys(settings).filter((path) => !first.includes(path))].map((path) => [path, settings[path]]);
};

function pairs(list, entries, text, label = (name) => name) {
  const made = entries.flatMap(([name, value]) => [el("dt", {}, label(name)), el("dd", {}, text(value, name))]);
  const before = list.textContent;
  const after = made.map((each) => each.textContent).join("");
  if (before !== after) list.replaceChildren(...made);
  const section = list.closest("[data-hide-empty]");
  if (section) section.hidden = entries.length === 0;
}

function showPlace() {
  const place = details.place, row = details.row;
  if (!place) return setText(byId("place"), t("trial.no_place"));
  const text = place.best === id ? t("trial.place_best", place) : t("trial.place", {...place, gap: number(place.objective_gap)});
  const gap = place.best !== id && place.quality_gap !== null ? t("trial.quality_gap", {gap: gapText(place.quality_gap, row.quality_unit)}) : "";
  const link = place.best === id ? null : el("a", {href: href(`/runs/${key}/trials/${place.best}`)}, t("trial.best_of_cell"));
  const compare = place.best === id ? null : el("a", {href: href(`/compare?trial=${key}:${id}&trial=${key}:${place.best}`)}, t("trial.compare_best"));
  renew(byId("place"), text, pause, gap, ...(link ? [" ", link, " · ", compare] : []));
}

const gapText = (value, unit) => `${value > 0 ? "+" : ""}${isShare(unit) ? t("trial.points", {value: (100 * value).toFixed(1)}) : number(value)}`;

function showError() {
  byId("error-section").hidden = !details.error;
  const kind = language !== "en" ? details.row.error_kind : null;
  setEnglish(byId("error"), details.error?.message ?? "", kind ? `${t(kind.key, kind.values)}: ` : "");
  setText(byId("trace"), details.error?.trace ?? "");
  byId("trace-details").hidden = !details.error?.trace;
}

function showFiles() {
  renew(byId("checkpoints").tBodies[0], ...details.checkpoints.map((each) => el("tr", {}, el("th", {scope: "row"}, each.name),
    el("td", {class: "number"}, String(each.step ?? "")), el("td", {class: "number"}, size(each.bytes)), el("td", {}, each.complete ? t("run.yes") : t("trial.incomplete")))));
  byId("checkpoints-section").hidden = details.checkpoints.length === 0;
  renew(byId("files").tBodies[0], ...details.files.map((each) => el("tr", {}, el("td", {}, `trials/${id}/${each.name}`), el("td", {class: "number"}, size(each.bytes)))));
  setText(byId("more-files"), details.more_files ? t("run.more", {count: details.more_files}) : "");
}

function draw() {
  const names = curveNames([details]);
  const select = byId("curve-name");
  if (JSON.stringify(names) !== select.dataset.names) {
    select.dataset.names = JSON.stringify(names);
    select.replaceChildren(...names.map((name) => el("option", {value: name}, name)));
  }
  if (!names.includes(curve)) curve = names[0] ?? null;
  select.value = curve ?? "";
  byId("curve-field").hidden = names.length < 2;
  figures.curves ??= new Figure(byId("curves"));
  figures.curves.draw(curvesFigure([{name: id, curves: details.curves}], curve ?? ""));
  figures.memory ??= new Figure(byId("memory"));
  figures.memory.draw(memoryFigure([{name: id, memory: details.memory}]));
}

let asked = 0;
async function samples() {
  const turn = (asked += 1);
  const found = await get(`/runs/${key}/trials/${id}/samples`).catch((error) => ({rows: [], problem: error.message}));
  if (turn !== asked) return; // the trial's state has changed meanwhile, and a later answer is to come
  byId("samples").tBodies[0].replaceChildren(...found.rows.map((row) => el("tr", {}, el("td", {}, row.prompt), el("td", {}, row.reference ?? "–"), el("td", {}, row.prediction ?? "–"), el("td", {class: "number"}, number(row.score)))));
  byId("samples-frame").hidden = found.rows.length === 0;
  setMessage(byId("samples-state"), found.problem ?? (found.rows.length ? t("trial.samples_first", {count: found.rows.length}) : t("trial.no_samples")));
}

byId("curve-name").addEventListener("change", (event) => { curve = event.target.value; draw(); });
byId("clone").addEventListener("click", () => cloneTrial(key, id, details.settings, details.columns));
byId("stop").addEventListener("click", () => confirmAction({key, action: "stop-trial", title: t("trial.stop"), text: t("trial.stop_text"), danger: true, body: () => ({trial: id})}));
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", () => copy(byId(button.dataset.copy).textContent, button, t("common.copied")));
}

function take(all) {
  details = all;
  show();
  if (all.row && sampled !== all.row.status) { sampled = all.row.status; samples(); }
}

follow(`/runs/${key}/trials/${id}/events`, {
  state: take,
  changes(part) { take({...details, ...part}); },
  connection(open) { byId("offline").hidden = open; },
});
