// What stands above a run's table: its facts, its cells, its problems.
import {href} from "./api.js";
import {byId, el, english, renew, setEnglish, setText} from "./dom.js";
import {errorText, stopText} from "./trial_table.js";
import {gib, quality, seconds} from "./units.js";
import {t} from "./words.js";

const SHOWN_PROBLEMS = 100;

/** The state in words, and figures of the whole run. */
export function showFacts(run) {
  const state = byId("state");
  setText(state, t(`home.state_${run.state}`));
  state.className = `tag state-${run.state}`;
  const reason = run.problem ?? run.reason;
  setEnglish(byId("reason"), reason ?? "", reason && run.state === "dead" && !run.problem ? t("run.dead_reason", {reason: ""}) : "");
  setText(byId("question"), run.question ?? "");
  setText(byId("holder"), run.holder ?? "");
  setText(byId("fact-trials"), run.total ? t("home.of", {done: run.ended, total: run.total}) : String(run.ended ?? 0));
  const bar = byId("fact-bar");
  bar.max = Math.max(1, run.total ?? 1);
  bar.value = run.ended ?? 0;
  setText(byId("fact-best"), run.best ? quality(run.best.quality, run.best.unit) : "–");
  setText(byId("fact-best-of"), run.best ? `${run.best.name}, ${run.best.cell}` : "");
  setText(byId("fact-peak"), gib(run.peak_bytes));
  setText(byId("fact-age"), run.began ? seconds(Date.now() / 1000 - run.began) : "–");
  setText(byId("fact-spent"), run.seconds ? t("run.spent", {time: seconds(run.seconds)}) : "");
  const list = byId("waits");
  const sentences = [
    ...[run.first_comparison, ...(run.waits ?? [])].filter(Boolean).map(english),
    ...(run.to_stop ?? []).map((trial) => t("run.to_stop", {trial})),
    ...(run.to_add ?? []).map((each) => t("run.to_add", {trial: each.trial_id, cell: each.cell, like: each.like, changes: each.changes.join(", ")})),
  ];
  const text = sentences.map((each) => each.textContent ?? each).join("\n");
  if (list.dataset.text !== text) {
    list.dataset.text = text;
    list.replaceChildren(...sentences.map((each) => el("li", {}, each)));
  }
  const pages = byId("pages");
  const names = Object.entries(run.pages ?? {});
  if (pages.dataset.text !== JSON.stringify(names)) {
    pages.dataset.text = JSON.stringify(names);
    pages.replaceChildren(...names.map(([name, address]) => el("a", {class: "button", href: address, rel: "noreferrer noopener", target: "_blank"}, name)));
  }
}

/** A row for each cell with its budget. */
export function showCells(run) {
  renew(byId("cells").tBodies[0], ...(run.cells ?? []).map((cell) => el("tr", {},
    el("th", {scope: "row"}, cell.cell),
    el("td", {class: "number"}, t("home.of", {done: cell.ended, total: cell.trials})),
    el("td", {class: "number"}, cell.running ? String(cell.running) : ""),
    el("td", {}, statuses(cell.statuses)),
    el("td", {class: "number"}, cell.best ? quality(cell.best.quality, cell.best.unit) : "–"),
    el("td", {}, cell.best ? el("a", {href: href(`/runs/${run.key}/trials/${cell.best.trial}`)}, cell.best.trial) : ""),
    el("td", {class: "number"}, gib(cell.peak_bytes)))));
}

const statuses = (counts) => Object.entries(counts).filter(([name]) => name !== "done").map(([name, count]) => `${count} ${t(`run.status_${name}`)}`).join(", ");

/** Failures with their reasons, files that can't be read, early stops. */
export function showProblems(run, rows, key) {
  const link = (row) => el("a", {href: href(`/runs/${key}/trials/${row.id}`)}, `${row.cell} ${row.id}`);
  const ended = rows.filter((row) => ["failed", "out_of_memory", "stopped"].includes(row.status));
  const items = [
    ...(run.damaged ?? []).map((text) => el("li", {class: "state-failed"}, english(text))),
    ...ended.sort((a, b) => (a.status < b.status ? -1 : a.status > b.status ? 1 : 0)).slice(0, SHOWN_PROBLEMS).map((row) =>
      el("li", {}, link(row), ` ${t(`run.status_${row.status}`)}: `, row.error ? errorText(row) : stopText(row.stop) ?? "–")),
    ...(ended.length > SHOWN_PROBLEMS ? [el("li", {}, t("run.more", {count: ended.length - SHOWN_PROBLEMS}))] : []),
  ];
  renew(byId("problems"), ...items);
  byId("problems-section").hidden = items.length === 0;
  setText(byId("problems-count"), String((run.damaged?.length ?? 0) + ended.length));
  renew(byId("notes"), ...(run.notes ?? []).map((note) => el("li", {}, english(note))));
  byId("notes-section").hidden = !(run.notes ?? []).length;
}
