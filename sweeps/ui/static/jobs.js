// The list of jobs, pushed by the server.
import {href} from "./api.js";
import {byId, el, renew} from "./dom.js";
import {durationOf, kindOf, stateTag} from "./job_words.js";
import {follow} from "./live.js";
import {moment} from "./units.js";

function row(job) {
  return el("tr", {dataset: {key: job.id}},
    el("th", {scope: "row"},
      el("a", {href: href(`/jobs/${job.id}`)}, job.title),
      el("div", {class: "facts"}, kindOf(job))),
    el("td", {}, stateTag(job)),
    el("td", {}, moment(job.started_at)),
    el("td", {class: "number", dataset: {job: job.id}}, durationOf(job)));
}

let jobs = [];

follow("/jobs/events", {state(all) {
  jobs = all;
  const focused = document.activeElement?.getAttribute("href");
  renew(byId("jobs").tBodies[0], ...jobs.map(row));
  if (focused) byId("jobs").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  byId("waiting").hidden = true;
  byId("empty").hidden = jobs.length > 0;
  byId("table-frame").hidden = jobs.length === 0;
}});

setInterval(() => {
  for (const job of jobs.filter((each) => each.ended_at === null)) {
    const cell = byId("jobs").querySelector(`[data-job="${job.id}"]`);
    if (cell) cell.textContent = durationOf(job);
  }
}, 1000);
