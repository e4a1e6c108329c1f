// Two to four trials side by side.
import {get, href} from "./api.js";
import {Figure} from "./charts.js";
import {SERIES} from "./colours.js";
import {brokenName, byId, el, setMessage, setText} from "./dom.js";
import {settingName, valueText} from "./run_figures.js";
import {setQuality} from "./trial_table.js";
import {curveNames, curvesFigure, memoryFigure} from "./trial_figures.js";
import {clock, gib, isShare, number, quality, seconds} from "./units.js";
import {language, t} from "./words.js";

const AGAIN_MS = 3000; // before a run without a best trial is looked at again
let sides = [];
const figures = {};

async function start() {
  try {
    const found = await get(`/compare/values${location.search}`);
    if (found.waiting) {
      setText(byId("waiting"), found.waiting);
      setTimeout(start, AGAIN_MS);
      return;
    }
    sides = found.sides;
    byId("waiting").hidden = true;
    byId("comparison").hidden = false;
    table(found.differing);
    curves();
    figures.memory = new Figure(byId("memory"));
    figures.memory.draw(memoryFigure(sides));
    setText(byId("as-of"), t("common.as_of", {time: clock(found.as_of)}));
    answers();
    tests();
  } catch (error) {
    byId("waiting").hidden = true;
    byId("refused").hidden = false;
    setMessage(byId("refused"), error.message);
  }
}

function table(differing) {
  byId("values").tHead.replaceChildren(el("tr", {}, el("td", {}), ...sides.map((side, place) => el("th", {scope: "col"},
    el("span", {class: "swatch", style: `background:${SERIES[place]}`}), ` `, el("a", {href: href(`/runs/${side.key}/trials/${side.trial}`)}, side.name)))));
  const line = (label, value) => el("tr", {}, el("th", {scope: "row"}, label), ...sides.map((side) => el("td", {}, value(side) ?? "–")));
  const row = (value) => (side) => value(side.row ?? {});
  byId("values").tBodies[0].replaceChildren(
    line(t("run.cell"), row((each) => each.cell)),
    line(t("run.status"), row((each) => t(`run.status_${each.status}`))),
    line(t("run.quality"), row((each) => `${quality(each.quality, each.quality_unit)} ${each.quality_name ?? ""}`)),
    ...[...new Set(sides.flatMap((side) => Object.keys(side.row?.sets ?? {})))].sort().map((name) => line(t("trial.on_set", {name}), row((each) => setQuality(each.sets?.[name])))),
    line(t("run.column_objective"), row((each) => number(each.objective))),
    line(t("run.peak"), row((each) => gib(each.peak_bytes))),
    line(t("run.column_predicted"), row((each) => gib(each.predicted_bytes))),
    line(t("run.column_speed"), row((each) => number(each.tokens_per_second && Math.round(each.tokens_per_second)))),
    line(t("compare.train_time"), row((each) => seconds(each.train_seconds))));
  byId("differing").tBodies[0].replaceChildren(...differing.map((path) => el("tr", {},
    el("th", {scope: "row", title: path}, brokenName(path)), ...sides.map((side) => el("td", {}, path in side.settings ? valueText(side.settings[path]) : "–")))));
  byId("differing").tHead.replaceChildren(el("tr", {}, el("th", {scope: "col"}, t("run.setting")), ...sides.map((side) => el("th", {scope: "col"}, side.name))));
  byId("same").hidden = differing.length > 0;
  byId("differing-frame").hidden = differing.length === 0;
}

function curves() {
  const names = curveNames(sides);
  const select = byId("curve-name");
  select.replaceChildren(...names.map((name) => el("option", {value: name}, name)));
  byId("curve-field").hidden = names.length < 2;
  figures.curves = new Figure(byId("curves"));
  const draw = () => figures.curves.draw(curvesFigure(sides, select.value));
  select.addEventListener("change", draw);
  draw();
}

async function tests() {
  const found = await get(`/compare/tests${location.search}`).catch((error) => ({pairs: [], problem: error.message}));
  byId("tests").replaceChildren(...found.pairs.map((pair) => el("li", {}, sentence(pair))));
  setMessage(byId("tests-state"), found.problem ?? "");
}

const negative = (value) => (value === null ? null : -value);

/** What a test says, in words. */
function sentence(pair) {
  const one = sides[pair.one].name, other = sides[pair.other].name;
  if (pair.reason) return t(`compare.no_test_${pair.reason}`, {one, other});
  const points = (value) => (value === null ? "–" : isShare(pair.unit) ? `${(100 * value).toFixed(1)}` : number(value));
  // The difference is said by its size, so its interval is that of the size.
  const [low, high] = pair.difference < 0 ? [negative(pair.high), negative(pair.low)] : [pair.low, pair.high];
  const values = {
    difference: isShare(pair.unit) ? t("compare.points", {value: points(Math.abs(pair.difference))}) : number(Math.abs(pair.difference)),
    low: points(low), high: points(high), p: number(Number(pair.p.toPrecision(2))), basis: pair.translations[language] ?? pair.basis, name: settingName(pair.name),
  };
  const better = (pair.difference > 0) === (pair.higher_is_better !== false);
  if (!pair.settled) return t("compare.not_settled", {one, other, ...values});
  return t("compare.better", {better: better ? one : other, worse: better ? other : one, ...values});
}

/** They are read by a process, which takes longer than all else. */
async function answers() {
  const {rows, common, different, problem} = await get(`/compare/answers${location.search}`)
    .catch((error) => ({rows: [], common: 0, different: 0, problem: error.message}));
  byId("answers").tHead.replaceChildren(el("tr", {}, el("th", {scope: "col"}, t("compare.prompt")), el("th", {scope: "col"}, t("compare.reference")),
    ...sides.map((side) => el("th", {scope: "col"}, side.name))));
  byId("answers").tBodies[0].replaceChildren(...rows.map((row) => el("tr", {}, el("td", {}, row.prompt), el("td", {}, row.reference ?? "–"),
    ...row.answers.map((answer) => el("td", {class: row.differs ? "differs" : null}, answer.prediction ?? "", el("div", {class: "facts"}, t("compare.score", {score: number(answer.score)})))))));
  byId("answers-frame").hidden = rows.length === 0;
  setMessage(byId("answers-state"), problem ?? (common ? t("compare.rows", {shown: rows.length, common, different}) : t("compare.no_rows")));
}

if (byId("comparison")) start();
