// What an evaluation measured: a table with intervals, and the comparison in words.
import {el} from "./dom.js";
import {number, seconds} from "./units.js";
import {t} from "./words.js";

/** The element for the content of an `evaluation.json`, with its `folder`. */
export function evaluationResult(tree) {
  const root = el("div", {}, el("h2", {}, t("evaluate.result")));
  const {results, comparison, data} = tree;
  if (comparison?.sentence) root.append(el("p", {class: "sentence", lang: "en"}, comparison.sentence));
  if (data) root.append(el("p", {class: "facts"}, rowsOf(data)));
  for (const part of ["metrics", "benchmarks"]) {
    if (results.some((each) => Object.keys(each[part] ?? {}).length)) root.append(table(results.map((each) => each.result), results.map((each) => each[part] ?? {}), comparison));
  }
  for (const each of results.filter((result) => result.forgetting)) root.append(...forgetting(each));
  for (const warning of tree.warnings ?? []) root.append(el("p", {class: "notice", lang: "en"}, warning));
  if (tree.folder) root.append(el("p", {class: "facts"}, t("evaluate.written", {folder: tree.folder})));
  return root;
}

function rowsOf(data) {
  const name = data.part ? t("evaluate.part_of", {part: data.part, name: data.name}) : data.name;
  return t("evaluate.rows_of", {name, rows: data.rows, of: data.of, kind: data.kind});
}

function forgetting(result) {
  const {before, after, sentence} = result.forgetting;
  const names = [t("evaluate.after", {name: result.result}), t("evaluate.before")];
  return [
    el("h3", {}, t("evaluate.forgetting")),
    sentence ? el("p", {class: "sentence", lang: "en"}, sentence) : "",
    table(names, [after, before], result.forgetting),
  ];
}

function table(names, metrics, comparison) {
  const differences = comparison?.differences ?? {};
  const compared = names.length > 1;
  const heads = [...names, ...(compared ? [t("evaluate.difference"), t("evaluate.p")] : [])];
  const measures = [...new Set(metrics.flatMap((each) => Object.keys(each)))];
  return el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": t("evaluate.result")},
    el("table", {class: "table"},
      el("thead", {}, el("tr", {}, el("th", {scope: "col"}, t("evaluate.measure")), ...heads.map((each) => el("th", {scope: "col", class: "number"}, each)))),
      el("tbody", {}, ...measures.map((name) => row(name, metrics, differences, compared)))));
}

function row(name, metrics, differences, compared) {
  const some = metrics.find((each) => each[name])[name];
  const difference = differences[name];
  const cells = metrics.map((each) => cell(each[name], some.unit));
  if (compared) cells.push(cell(difference && {...difference, value: difference.difference}, some.unit), el("td", {class: "number"}, p(difference)));
  return el("tr", {},
    el("th", {scope: "row"}, label(name, some.unit), some.how ? el("div", {class: "facts", lang: "en"}, some.how) : null), ...cells);
}

function cell(metric, unit) {
  if (!metric) return el("td", {class: "number"}, "–");
  const interval = metric.low === null || metric.low === undefined ? null
    : el("div", {class: "facts"}, t("evaluate.interval", {low: value(metric.low, unit), high: value(metric.high, unit)}));
  return el("td", {class: "number"}, value(metric.value, unit), interval);
}

const p = (difference) => difference?.mcnemar_p === null || difference?.mcnemar_p === undefined ? "" : String(Number(difference.mcnemar_p.toPrecision(2)));

/** TASK/METRIC is a benchmark's, and stays as the harness spells it. */
function label(name, unit) {
  const plain = name.includes("/") ? name : name.replaceAll("_", " ");
  return ["", "fraction", plain, null, undefined].includes(unit) ? plain : `${plain}, ${unit}`;
}

const value = (figure, unit) => unit === "fraction" ? `${(100 * figure).toFixed(1)} %` : unit === "seconds" ? seconds(figure) : number(figure);
