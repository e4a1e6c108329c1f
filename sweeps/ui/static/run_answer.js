// The answer of a run in words, as it stands.
import {byId, el, setMessage} from "./dom.js";
import {clock} from "./units.js";
import {language, t} from "./words.js";

export function showAnswer({value, as_of: asOf, problem, computing}) {
  const answers = value?.answers ?? [];
  byId("answer").lang = value?.language ?? language;
  byId("answer").replaceChildren(...answers.flatMap((answer) => [
    answers.length > 1 && answer.title ? el("h3", {}, answer.title) : null,
    el("p", {class: "say"}, (answer.sentences ?? []).join(byId("answer").lang === "zh" ? "" : " ")),
    answer.explanation ? el("p", {class: "facts"}, answer.explanation) : null,
    ...open(answer),
  ].filter(Boolean)));
  byId("answer").append(...claimed(value?.claims ?? []));
  if (!answers.length) byId("answer").append(el("p", {class: "facts", lang: language}, computing ? t("run.answer_computing") : t("run.no_answer")));
  const state = [
    asOf ? t("common.as_of", {time: clock(asOf)}) : answers.length ? t("run.answer_of_report") : "",
    computing && answers.length ? t("run.answer_again") : "",
    problem ? t("run.answer_problem", {problem}) : "",
  ];
  setMessage(byId("answer-state"), state.filter(Boolean).join(" "));
}

/** What the report says of the spec's claims; a sentence of it begins with the outcome, which stands before it here. */
function claimed(claims) {
  if (!claims.length) return [];
  const outcome = ({outcome: name}) => t(`run.claim_${name === "supported" || name === "contradicted" ? name : "not_settled"}`);
  const colour = {supported: "state-done", contradicted: "state-failed"};
  const begin = /^(?:supported|contradicted|not settled): |^(?:成立|不成立|尚无定论)：/i;
  const said = ({sentence = ""}) => sentence.replace(begin, "");
  return [el("h3", {lang: language}, t("run.claims")), el("ul", {class: "claims"}, ...claims.map((claim) => el("li", {},
    el("span", {lang: language, class: `tag ${colour[claim.outcome] ?? "state-stopped"}`}, outcome(claim)), " ", said(claim)))), el("p", {class: "facts", lang: language}, t("run.claims_note"))];
}

/** What is not settled: a list, or a sentence. */
function open(answer) {
  const questions = answer.questions ?? [];
  if (questions.length > 1) return [el("p", {lang: language}, t("run.not_settled")), el("ul", {}, ...questions.map((each) => el("li", {}, each)))];
  return answer.open_questions ? [el("p", {class: "open"}, answer.open_questions)] : [];
}
