// The list of runs: pushed by the server, searched, sorted and selected here.
import {href, post, remove} from "./api.js";
import {arrange, byId, el, english, renew, setMessage, setText, toast} from "./dom.js";
import {follow} from "./live.js";
import {MISSING, clock, gib, quality, seconds} from "./units.js";
import {t} from "./words.js";

const VALUES = {
  name: (run) => run.name.toLowerCase(),
  state: (run) => run.state,
  trials: (run) => run.total ? run.ended / run.total : -1,
  best: (run) => run.best?.quality ?? -Infinity,
  peak: (run) => run.peak_bytes ?? -1,
  age: (run) => age(run) ?? Infinity,
};
const age = (run) => run.began === null ? null : Date.now() / 1000 - run.began;
let runs = [];
let asOf = null; // when the server last read the runs, those aside that are late
let isReading = false; // whether a folder of runs was never read to its end
let order = {column: "age", descending: false};
const selected = new Set();
const rows = new Map(); // key -> element, kept so that focus stays where it is

function visible() {
  const wanted = byId("search").value.trim().toLowerCase();
  const value = VALUES[order.column];
  const sign = order.descending ? -1 : 1;
  return runs
    .filter((run) => !wanted || `${run.name} ${run.question ?? ""} ${run.place}`.toLowerCase().includes(wanted))
    .sort((a, b) => (value(a) < value(b) ? -sign : value(a) > value(b) ? sign : 0));
}

function row(run) {
  const box = el("input", {type: "checkbox", "aria-label": t("home.select_run", {name: run.name})});
  box.checked = selected.has(run.key);
  box.addEventListener("change", () => {
    box.checked ? selected.add(run.key) : selected.delete(run.key);
    buttons();
  });
  return el("tr", {},
    el("td", {}, box),
    el("th", {scope: "row"},
      el("a", {href: href(`/runs/${run.key}`)}, run.name),
      run.added ? removal(run) : null,
      run.question ? el("div", {class: "facts"}, run.question) : null),
    el("td", {}, el("span", {class: `tag state-${run.state}`}, t(`home.state_${run.state}`)),
      run.problem || run.reason ? el("div", {class: "facts"}, english(run.problem ?? run.reason)) : null,
      run.as_of ? el("div", {class: "facts late"}, t("common.as_of", {time: clock(run.as_of)})) : null),
    el("td", {class: "number"}, run.total ? t("home.of", {done: run.ended, total: run.total}) : MISSING),
    el("td", {class: "number"}, quality(run.best?.quality, run.best?.unit),
      run.best ? el("div", {class: "facts"}, `${run.best.name}, ${run.best.cell}`) : null),
    el("td", {class: "number"}, gib(run.peak_bytes)),
    el("td", {class: "number"}, seconds(age(run))));
}

function removal(run) {
  const name = t("home.remove", {name: run.name});
  return el("button", {type: "button", class: "button quiet", title: name, "aria-label": name, async onclick() {
    try {
      await remove(`/runs/${run.key}`);
      selected.delete(run.key);
      runs = runs.filter((each) => each.key !== run.key);
      buttons();
      show();
    } catch (error) { toast(error.message, "error"); }
  }}, "×");
}

function show() {
  const shown = visible();
  const body = document.querySelector("#runs tbody");
  const made = shown.map((run) => {
    const text = JSON.stringify([run.state, run.reason, run.problem, run.ended, run.total, run.best, run.peak_bytes, run.added, run.as_of, seconds(age(run))]);
    const kept = rows.get(run.key);
    if (kept?.text === text) return kept.element;
    const fresh = row(run);
    const element = kept?.element ?? fresh;
    if (kept) renew(element, ...fresh.childNodes);
    rows.set(run.key, {text, element});
    return element;
  });
  arrange(body, made);
  byId("waiting").hidden = !isReading;
  byId("empty").hidden = runs.length > 0 || isReading;
  byId("table-frame").hidden = runs.length === 0;
  byId("controls").hidden = runs.length === 0;
  setText(byId("as-of"), asOf === null ? "" : t("common.as_of", {time: clock(asOf)}));
  for (const head of document.querySelectorAll("#runs th[data-column]")) {
    const sorted = head.dataset.column === order.column;
    sorted ? head.setAttribute("aria-sort", order.descending ? "descending" : "ascending") : head.removeAttribute("aria-sort");
  }
}

function buttons() {
  byId("compare").disabled = selected.size < 2 || selected.size > 4;
  byId("report").disabled = selected.size < 1;
}

for (const head of document.querySelectorAll("#runs th[data-column]")) {
  head.querySelector("button").addEventListener("click", () => {
    const column = head.dataset.column;
    order = {column, descending: order.column === column ? !order.descending : column === "best" || column === "trials"};
    show();
  });
}
byId("search").addEventListener("input", show);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("compare").addEventListener("click", () => {
  location.href = href(`/compare?${[...selected].map((key) => `run=${key}`).join("&")}`);
});
byId("report").addEventListener("click", async () => {
  try {
    const {url} = await post("/reports", {runs: [...selected]});
    location.href = url;
  } catch (error) { toast(error.message, "error"); }
});
byId("demo").addEventListener("click", async () => {
  byId("demo").disabled = true;
  try {
    const {url} = await post("/demo");
    location.href = url;
  } catch (error) {
    byId("demo").disabled = false;
    toast(error.message, "error");
  }
});

const dialog = byId("add-dialog");
byId("add").addEventListener("click", () => dialog.showModal());
dialog.querySelector("form").addEventListener("submit", async (event) => {
  if (event.submitter?.value !== "add") return;
  event.preventDefault();
  try {
    const {url} = await post("/runs", {url: byId("add-address").value});
    location.href = url;
  } catch (error) {
    setMessage(byId("add-error"), error.message);
    byId("add-error").hidden = false;
  }
});

function take(part) {
  runs = part.runs ?? runs;
  isReading = part.is_reading ?? isReading;
  asOf = part.as_of;
  show();
}

follow("/events", {state: take, changes: take, connection(open) { byId("offline").hidden = open; }});
