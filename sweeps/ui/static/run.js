// The page of a run: the server pushes its state, figures follow, buttons start commands.
import {get, href, post} from "./api.js";
import {Figure} from "./charts.js";
import {methodColours} from "./colours.js";
import {byId, el, english, setMessage, setText, toast} from "./dom.js";
import {follow} from "./live.js";
import {showAnswer} from "./run_answer.js";
import {confirmAction} from "./run_actions.js";
import {curveFigure, groupOf, importanceFigure, paretoFigure, parallelFigure} from "./run_figures.js";
import {showCells, showFacts, showProblems} from "./run_head.js";
import {TrialTable} from "./trial_table.js";
import {clock} from "./units.js";
import {language, t} from "./words.js";

const key = byId("run").dataset.key;
const ACTIVE = new Set(["queued", "starting", "running", "stopping"]);
let run = null;
const rows = new Map();
const table = new TrialTable({
  frame: byId("trials-frame"), table: byId("trials"), search: byId("trial-search"), status: byId("trial-status"),
  cell: byId("trial-cell"), columns: byId("trial-columns"), count: byId("trial-count"),
}, key);
const figures = {};
const openTrial = (id) => { location.href = href(`/runs/${key}/trials/${id}`); };
let group = null, curveName = null, ended = -1, curvesAt = 0;

function take(part, whole) {
  const unread = !run || run.state === "reading";
  const wasActive = run && ACTIVE.has(run.state);
  if (whole) rows.clear();
  for (const row of part.rows ?? []) rows.set(row.id, row);
  for (const id of part.removed ?? []) rows.delete(id);
  run = {...(whole ? {} : run), ...part};
  if (wasActive && !ACTIVE.has(run.state)) isLogDue = true;
  show(run.state !== "reading" && (whole || unread || (part.rows?.length ?? 0) > 0 || (part.removed?.length ?? 0) > 0));
}

function show(rowsChanged) {
  showFacts(run);
  setText(byId("as-of"), run.as_of ? t("common.as_of", {time: clock(run.as_of)}) : "");
  byId("waiting").hidden = run.state !== "reading";
  byId("stop").hidden = !["starting", "running"].includes(run.state);
  byId("resume").hidden = !["stopped", "interrupted", "dead"].includes(run.state);
  byId("again").hidden = !run.spec;
  for (const [id, there] of [["open-report", run.report], ["open-samples", run.samples]]) byId(id).hidden = !there;
  if (!rowsChanged) return;
  const all = [...rows.values()];
  table.update(all, run.columns ?? []);
  showCells(run);
  showProblems(run, all, key);
  drawSoon();
  if (run.ended !== ended) {
    ended = run.ended;
    refreshAnswer();
  }
}

let drawing = null;
/** Figures are drawn at most every two seconds, however often the server pushes. */
function drawSoon() {
  drawing ??= setTimeout(() => { drawing = null; draw(); }, drawing === null && !figures.pareto ? 0 : 2000);
}

function draw() {
  const all = [...rows.values()];
  const colourOf = methodColours(all);
  const groups = [...new Set(all.filter((row) => row.quality !== null && row.role !== "base").map(groupOf))];
  if (!groups.includes(group)) group = groups[0] ?? null;
  choices(byId("group"), groups, group);
  byId("group-field").hidden = groups.length < 2;
  const own = all.filter((row) => row.role !== "base" && (group === null || groupOf(row) === group));
  figures.pareto ??= new Figure(byId("pareto"));
  figures.pareto.draw(paretoFigure(own, run.cells ?? [], colourOf, openTrial));
  figures.parallel ??= new Figure(byId("parallel"));
  figures.parallel.draw(parallelFigure(all.filter((row) => group === null || row.quality === null || groupOf(row) === group), run.columns ?? [], openTrial));
  refreshCurves();
}

const CURVES_MS = 4000; // at least, between two looks at the curves
let curvesLater = null, curvesUnderWay = null, areCurvesDue = false;

async function refreshCurves() {
  clearTimeout(curvesLater);
  const early = CURVES_MS - (Date.now() - curvesAt);
  if (early > 0) { curvesLater = setTimeout(refreshCurves, early); return; } // else what was pushed last would never be drawn
  // One look at a time: of a slow disk, one takes longer than the pause between two.
  if (curvesUnderWay) { areCurvesDue = true; return; }
  const {signal} = (curvesUnderWay = new AbortController());
  curvesAt = Date.now();
  areCurvesDue = false;
  try {
    const found = await get(`/runs/${key}/curves${curveName ? `?name=${encodeURIComponent(curveName)}` : ""}`, {signal});
    choices(byId("curve-name"), found.names, found.name);
    byId("curve-field").hidden = found.names.length < 2;
    const colourOf = methodColours(rows.values());
    figures.curves ??= new Figure(byId("curves"));
    figures.curves.draw(curveFigure(found, (id) => rows.get(id), colourOf, openTrial));
  } catch { areCurvesDue = true; }
  curvesUnderWay = null;
  if (areCurvesDue) curvesLater = setTimeout(refreshCurves, signal.aborted ? 0 : CURVES_MS);
}

const FAILED_MS = 60_000; // until an answer that could not be computed is asked for again
const REFUSED_MS = 5000; // until one that the server could not give, as of a slow disk, is
let answerAgain = null;

async function refreshAnswer(tries = 0) {
  const found = await get(`/runs/${key}/answer`).catch(() => null);
  if (found) {
    showAnswer(found);
    showImportance(found);
  }
  clearTimeout(answerAgain);
  if (found?.computing && tries < 200) answerAgain = setTimeout(() => refreshAnswer(tries + 1), 1500);
  else if (found?.problem) answerAgain = setTimeout(refreshAnswer, FAILED_MS);
  else if (!found) answerAgain = setTimeout(refreshAnswer, REFUSED_MS);
}

function showImportance({value, problem}) {
  const cells = value?.importance;
  if (cells) {
    const colourOf = methodColours(rows.values());
    const methodOf = (cell) => [...rows.values()].find((row) => row.cell === cell)?.method;
    figures.importance ??= new Figure(byId("importance"));
    figures.importance.draw(importanceFigure(cells, colourOf, methodOf));
    byId("importance-reasons").replaceChildren(...cells.filter((cell) => cell.reason).map((cell) => el("li", {}, `${cell.cell}: `, cell.translations?.[language] ?? english(cell.reason))));
  } else if (problem) setMessage(byId("importance-state"), problem);
  byId("importance-state").hidden = Boolean(cells);
}

function choices(select, values, chosen) {
  if (JSON.stringify([...select.options].map((option) => option.value)) !== JSON.stringify(values)) {
    select.replaceChildren(...values.map((value) => el("option", {value}, value)));
  }
  select.value = chosen ?? "";
}

let isReadingLog = false;
let isLogDue = false; // whether the run has ended since the log was read: its last lines are to come
async function refreshLog() {
  if (!byId("log-panel").open || document.hidden || isReadingLog) return; // a browser has six connections for one server
  isReadingLog = true;
  const wasDue = isLogDue;
  isLogDue = false;
  const found = await get(`/runs/${key}/log`).catch(() => null);
  isReadingLog = false;
  if (!found) { isLogDue ||= wasDue; return; }
  const log = byId("log");
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  const text = found.lines.join("\n") || t("run.no_log");
  if (log.textContent !== text) {
    log.textContent = text;
    log.lang = found.lines.length ? "en" : language;
    if (atEnd || !log.dataset.filled) log.scrollTop = log.scrollHeight;
    log.dataset.filled = "yes";
  }
}

byId("group").addEventListener("change", (event) => { group = event.target.value; draw(); });
byId("curve-name").addEventListener("change", (event) => { curveName = event.target.value; curvesAt = 0; curvesUnderWay?.abort(); refreshCurves(); });
byId("log-panel").addEventListener("toggle", refreshLog);
setInterval(() => { if (run === null || ACTIVE.has(run.state) || isLogDue) refreshLog(); }, 2000);
byId("stop").addEventListener("click", () => confirmAction({key, action: "stop", title: t("run.stop"), text: t("run.stop_text"), danger: true}));
byId("resume").addEventListener("click", () => confirmAction({key, action: "resume", title: t("run.resume"), text: t("run.resume_text")}));
byId("new-report").addEventListener("click", () => confirmAction({key, action: "report", title: t("run.new_report"), text: t("run.new_report_text")}));
byId("again").addEventListener("click", async () => {
  try {
    location.href = href((await post("/new", {from: "run", name: key})).path);
  } catch (error) { toast(error.message, "error"); }
});

follow(`/runs/${key}/events`, {
  state(all) { take(all, true); },
  changes(part) { take(part, false); },
  connection(open) { byId("offline").hidden = open; },
});
