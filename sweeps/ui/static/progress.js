// A bar with what is done: of a known total, or without one.
import {el} from "./dom.js";
import {number} from "./units.js";
import {languageOf, t, wordsOr} from "./words.js";

/** The element for an event `progress` of a command; `null` where a command has not said anything yet. */
export function progressBar(progress) {
  const {done, total} = progress ?? {};
  const known = typeof done === "number" && typeof total === "number" && total > 0;
  const words = progress ? describe(progress, known) : t("jobs.working");
  const bar = el("progress", {max: known ? total : null, value: known ? Math.min(done, total) : null, "aria-label": words});
  return el("div", {class: "job-progress"}, bar, el("span", {class: "facts", lang: languageOf(words)}, words));
}

function describe(progress, known) {
  const what = [progress.phase, progress.stage, progress.what, progress.text, progress.message].find((each) => typeof each === "string");
  const words = what && wordsOr(`jobs.progress_${what.replaceAll(/\W+/g, "_")}`, what);
  const count = known ? t("jobs.done_of", {done: number(progress.done), total: number(progress.total)}) : "";
  return [words, count].filter(Boolean).join(" · ") || t("jobs.working");
}
