// A job on a page: its state, progress, result, command and log, followed until it ends.
import {href, post} from "./api.js";
import {copy, el, message, renew, setText, toast} from "./dom.js";
import {evaluationResult} from "./evaluation_result.js";
import {exportResult} from "./export_result.js";
import {durationOf, kindOf, stateTag} from "./job_words.js";
import {follow} from "./live.js";
import {progressBar} from "./progress.js";
import {moment} from "./units.js";
import {t, worded} from "./words.js";

const RESULTS = {evaluate: evaluationResult, export: exportResult};

/** Shows a job in `root` and follows it. Returns a function that stops following; `ended(values)` is called at its end. */
export function showJob(root, id, {ended} = {}) {
  const view = new JobView(root, id);
  let values = {};
  const update = (part) => view.show(values = {...values, ...part}, part);
  const tick = setInterval(() => values.job && view.showTimes(values.job), 1000);
  const stop = follow(`/jobs/${id}/events`, {
    state: update,
    changes: update,
    ended() { leave(); ended?.(values); },
  });
  const leave = () => { stop(); clearInterval(tick); };
  return leave;
}

class JobView {
  constructor(root, id) {
    this.state = el("span", {role: "status"});
    this.facts = el("span", {class: "facts"});
    this.cancel = el("button", {type: "button", class: "button danger", hidden: true, onclick: () => this.askToCancel(id)}, t("jobs.cancel"));
    this.links = el("span", {class: "buttons"});
    this.progress = el("div");
    this.messages = el("div");
    this.result = el("div", {class: "job-result"});
    this.command = el("pre", {class: "command", tabindex: "0"});
    this.copy = el("button", {type: "button", class: "button", onclick: () => copy(this.command.textContent, this.copy, t("common.copied"))}, t("common.copy"));
    this.log = el("pre", {class: "log", lang: "en", tabindex: "0", role: "region", "aria-label": t("jobs.log")});
    this.logFrame = el("details", {class: "panel"}, el("summary", {}, t("jobs.log")), this.log);
    root.replaceChildren(
      el("div", {class: "buttons"}, this.state, this.facts, this.cancel, this.links),
      this.progress, this.messages, this.result, this.logFrame,
      el("details", {class: "panel"}, el("summary", {}, t("jobs.command")), this.command, this.copy, this.folder = el("p", {class: "facts"})));
  }

  show({job, progress, result, events, text, log, links, ...more}, changed) {
    this.showState(job, links ?? []);
    if ("progress" in changed || "job" in changed) this.progress.replaceChildren(...(isOpen(job) ? [progressBar(progress)] : []));
    if ("events" in changed || "job" in changed || "log" in changed) this.showMessages(job, events, log, more.log_translations);
    if ("result" in changed || "text" in changed) this.showResult(job, result, text);
    if ("log" in changed) this.showLog(log, job);
  }

  showState(job, links) {
    this.state.replaceChildren(stateTag(job));
    this.cancel.hidden = job.state !== "running";
    setText(this.command, job.command);
    setText(this.folder, t("jobs.folder", {folder: job.cwd}));
    renew(this.links, ...links.map((link) => el("a", {class: "button", href: href(link.path)}, t(link.words))));
    this.showTimes(job);
  }

  showTimes(job) {
    const started = moment(job.started_at);
    const code = job.exit_code === null || job.exit_code === 0 ? "" : ` · ${t("jobs.exit_code", {code: job.exit_code})}`;
    setText(this.facts, `${kindOf(job)} · ${t("jobs.started", {time: started})} · ${durationOf(job)}${code}`);
  }

  showMessages(job, events, log, logTranslations) {
    const said = events.filter((each) => each.event === "warning" || each.event === "error")
      .map((each) => message("p", {class: each.event === "error" ? "error" : "notice"}, messageOf(each)));
    const failed = job.state === "failed" && !events.some((each) => each.event === "error");
    if (failed) said.push(...failure(log, logTranslations));
    if (job.state === "dead") said.push(el("p", {class: "error"}, t("jobs.dead")));
    this.messages.replaceChildren(...said);
  }

  showResult(job, result, text) {
    if (result && RESULTS[job.kind]) this.result.replaceChildren(RESULTS[job.kind](result, job));
    else if (text.trim()) this.result.replaceChildren(el("h2", {}, t("jobs.output")), el("pre", {class: "log", lang: "en", tabindex: "0"}, text));
    else if (result) this.result.replaceChildren(el("h2", {}, t("jobs.output")), el("pre", {class: "log", lang: "en", tabindex: "0"}, JSON.stringify(result, null, 2)));
  }

  showLog(log, job) {
    this.logFrame.hidden = !log.trim();
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    setText(this.log, log);
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
    if (isOpen(job) && !this.opened) this.logFrame.open = this.opened = true;
  }

  async askToCancel(id) {
    this.cancel.disabled = true;
    try { await post(`/jobs/${id}/cancel`); } catch (error) { toast(error.message, "error"); this.cancel.disabled = false; }
  }
}

const isOpen = (job) => job.state === "running" || job.state === "cancelling";

const messageOf = (event) => worded(event) ?? event.text ?? JSON.stringify(event);

/** Why a command failed: in the page's language where that has words for it, and always what the command says. */
function failure(log, translations) {
  const said = lastLines(log);
  const words = worded({message: null, translations});
  return [words, said || t("jobs.no_message")].filter(Boolean).map((text) => message("p", {class: "error"}, text));
}

/** What a command that refuses its input says: all of a short log, the end of a long one. */
const lastLines = (log) => log.trim().split("\n").slice(-12).join("\n");
