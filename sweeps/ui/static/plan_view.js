// What a check says: problems that lead to their lines, cells with trials and minutes, and the memory of each cell.
import {el, english} from "./dom.js";
import {legend, memoryBar, verdict} from "./memory_bars.js";
import {gib, MISSING} from "./units.js";
import {language, t} from "./words.js";

/** The message of a problem, and beside it what kind it is, in the reader's language. */
function message(problem) {
  const words = el("span", {class: "problem-text", lang: "en"}, problem.message);
  if (language !== "en" && problem.kind) words.prepend(el("strong", {lang: language}, t(problem.kind, problem.values)), el("br"));
  return words;
}

/** The list of problems; `jump(problem)` shows one in the text, `fix(problem)` applies its correction. */
export function showProblems(frame, problems, {jump, fix}) {
  frame.replaceChildren(...problems.map((problem) => el("li", {class: `problem ${problem.severity}`},
    el("span", {class: "problem-kind"}, t(`new.${problem.severity}`)),
    problem.line ? el("button", {type: "button", class: "button quiet small", onclick: () => jump(problem)}, t("new.line", {line: problem.line})) : null,
    problem.path ? el("code", {}, problem.path) : null,
    message(problem),
    problem.fix ? el("button", {type: "button", class: "button small", onclick: () => fix(problem)},
      t("new.fix", {old: problem.fix.old.trim() || "␉", new: problem.fix.new.trim() || "␠"})) : null)));
}

/** The predicted memory of a cell by its parts; null where it could not be predicted. */
const memoryOf = ({memory}) => (memory ? {peak: memory.peak_bytes, limit: memory.available_bytes, parts: memory.parts, change: memory.change} : null);

export function showPlan(frame, plan) {
  const cells = plan.cells ?? [];
  if (!cells.length) {
    frame.replaceChildren();
    return;
  }
  const memories = cells.map(memoryOf);
  const scale = 1.04 * Math.max(1, ...memories.map((each) => Math.max(each?.peak ?? 0, bounded(each, memories))));
  frame.replaceChildren(
    el("p", {class: "facts"}, summary(plan)),
    el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": t("new.cells")},
      el("table", {class: "table plan-cells"},
        el("thead", {}, el("tr", {}, ...["cell", "trials", "steps", "minutes", "memory"].map((name) =>
          el("th", {scope: "col", class: ["trials", "steps", "minutes"].includes(name) ? "number" : null}, t(`new.column_${name}`))))),
        el("tbody", {}, ...cells.map((cell, index) => row(cell, memories[index], scale))))),
    legend(memories.filter(Boolean).map((each) => each.parts)),
    el("details", {class: "about"}, el("summary", {}, t("new.notes", {count: plan.notes?.length ?? 0})),
      el("ul", {}, ...(plan.notes ?? []).map((note) => el("li", {lang: "en"}, note)))),
  );
}

/** A limit that is far beyond every peak would make all bars invisible: it isn't drawn then, only said. */
function bounded(memory, memories) {
  const top = Math.max(...memories.map((each) => each?.peak ?? 0));
  return memory?.limit && memory.limit < 4 * top ? memory.limit : 0;
}

function summary(plan) {
  const time = plan.time ?? {};
  const minutes = time.minutes === null || time.minutes === undefined ? t("new.minutes_unknown") : range(time.least_minutes, time.minutes);
  return t("new.summary", {cells: plan.cells.length, trials: plan.trials, finalists: plan.finalists, minutes});
}

function range(least, most) {
  const low = Math.round(least ?? most), high = Math.max(1, Math.round(most));
  return low < high ? t("new.minutes_range", {low, high}) : t("new.minutes_about", {minutes: high});
}

function row(cell, memory, scale) {
  return el("tr", {},
    el("th", {scope: "row"}, cell.cell, space(cell)),
    el("td", {class: "number"}, String(cell.trials)),
    el("td", {class: "number"}, cell.steps === null ? MISSING : String(cell.steps)),
    el("td", {class: "number"}, cell.minutes === null || cell.minutes === undefined ? MISSING : range(cell.least_minutes, cell.minutes)),
    el("td", {class: "memory-cell"}, ...memoryCell(cell, memory, scale)));
}

function space(cell) {
  const searched = Object.entries(cell.space ?? {}).map(([leaf, domain]) => `${leaf}: ${domain}`);
  return searched.length ? el("div", {class: "facts"}, ...searched.map((each) => el("div", {}, each))) : null;
}

function memoryCell(cell, memory, scale) {
  if (!memory) return [el("span", {class: "facts"}, cell.not_predicted ? english(cell.not_predicted) : MISSING)];
  const said = el("div", {class: "memory-said"}, gib(memory.peak), " ", verdict(memory.peak, memory.limit),
    memory.limit ? el("span", {class: "facts"}, t("new.of_available", {limit: gib(memory.limit)})) : null);
  const {change} = memory;
  return [memoryBar(memory.parts, memory.peak, {scale, limit: memory.limit}), said,
    change ? el("p", {class: "facts"}, t("new.would_fit", {change: change.change, peak: gib(change.peak_bytes)})) : null].filter(Boolean);
}
