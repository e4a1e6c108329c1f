// What the buttons do: each shows its command line, which can be copied, before it is started.
import {post} from "./api.js";
import {byId, copy, el, setMessage, toast} from "./dom.js";
import {t} from "./words.js";

/** Asks for a command's line, shows it, and starts it where the person says so. `body()` may change with the form. */
export async function confirmAction({key, action, title, text, body = () => ({}), form = null, danger = false}) {
  const line = el("pre", {class: "command", tabindex: "0"}, "…");
  const problem = el("p", {class: "error", hidden: true, role: "alert"});
  const start = el("button", {type: "button", disabled: true, class: `button ${danger ? "danger" : "primary"}`}, title);
  const copying = el("button", {type: "button", class: "button quiet"}, t("common.copy"));
  const close = el("button", {type: "button", class: "button"}, t("common.cancel"));
  const dialog = el("dialog", {"aria-label": title}, el("h2", {}, title), text ? el("p", {}, text) : null, form,
    el("p", {class: "facts"}, t("run.command_line")), line, problem, el("p", {class: "buttons"}, start, copying, close));
  const path = `/runs/${key}/actions/${action}`;
  let shows = 0, busy = false;
  const show = async () => {
    if (busy) return;
    const turn = (shows += 1);
    start.disabled = true; // what is started is the line that is shown
    try {
      const {command} = await post(path, {...body(), start: false});
      if (turn !== shows) return; // the form was changed meanwhile
      line.textContent = command;
      problem.hidden = true;
      start.disabled = false;
    } catch (error) { if (turn === shows) refuse(error); }
  };
  const refuse = (error) => {
    setMessage(problem, error.message);
    problem.hidden = false;
    start.disabled = true;
  };
  form?.addEventListener("input", show);
  copying.addEventListener("click", () => copy(line.textContent, copying, t("common.copied")));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  start.addEventListener("click", async () => {
    if (busy) return;
    busy = start.disabled = true;
    shows += 1;
    try {
      const {url} = await post(path, {...body(), start: true});
      dialog.close();
      started(url, title);
    } catch (error) { refuse(error); }
    busy = false;
  });
  document.body.append(dialog);
  dialog.showModal();
  await show();
}

function started(url, title) {
  toast(t("run.started", {action: title}));
  const last = byId("toasts").lastElementChild;
  last?.firstChild?.after(" ", el("a", {href: url}, t("run.watch_job")));
}

/** A trial again, with some settings changed: its settings as fields. */
export function cloneTrial(key, trial, settings, first = []) {
  const paths = [...first.filter((path) => path in settings), ...Object.keys(settings).filter((path) => !first.includes(path) && clonable(path, settings[path]))];
  const fields = new Map(paths.map((path) => [path, el("input", {value: text(settings[path]), autocomplete: "off", spellcheck: "false"})]));
  const label = (path) => el("label", {class: "field"}, path, fields.get(path));
  const form = el("form", {class: "clone"}, ...paths.slice(0, first.length || 6).map(label),
    el("details", {}, el("summary", {}, t("run.all_settings")), ...paths.slice(first.length || 6).map(label)));
  form.addEventListener("submit", (event) => event.preventDefault());
  const sets = () => paths.filter((path) => fields.get(path).value.trim() !== text(settings[path])).map((path) => `${path}=${fields.get(path).value.trim()}`);
  return confirmAction({key, action: "add", title: t("run.clone"), text: t("run.clone_text", {trial}), form, body: () => ({trial, sets: sets()})});
}

const clonable = (path, value) => !/^(cell|role|method_name|data\.|model\.)/.test(path) && (value === null || typeof value !== "object");
const text = (value) => (value === null ? "null" : typeof value === "string" ? value : JSON.stringify(value));
