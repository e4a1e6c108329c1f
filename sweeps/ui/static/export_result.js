// What an export wrote: its folder and size, whether it was verified, and commands that use it.
import {copy, el} from "./dom.js";
import {size} from "./units.js";
import {t} from "./words.js";

/** The element for the event `result` of an export. */
export function exportResult(result) {
  const verified = result.checks.length > 0;
  const root = el("div", {}, el("h2", {}, t("export.result")),
    el("dl", {class: "result-facts"},
      ...fact(t("export.folder"), el("code", {}, result.folder)),
      ...fact(t("export.size"), size(result.bytes)),
      ...fact(t("export.weights"), result.dtype ?? t("export.adapter_only"))),
    el("p", {class: verified ? "notice" : "error"}, t(verified ? "export.verified" : "export.not_verified")));
  for (const check of result.checks) root.append(el("p", {lang: "en"}, check.sentence), checkTable(check));
  for (const sentence of result.verdict) root.append(el("p", {class: "sentence", lang: "en"}, sentence));
  for (const note of result.notes) root.append(el("p", {class: "notice", lang: "en"}, note));
  if (result.url) root.append(el("p", {}, t("export.uploaded", {name: result.url})));
  root.append(el("h3", {}, t("export.use")), ...uses(result).flatMap(([words, command]) => [el("p", {class: "facts"}, words), commandOf(command)]));
  return root;
}

const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];

function checkTable({columns, rows}) {
  return el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": t("export.result")},
    el("table", {class: "table", lang: "en"},
      el("thead", {}, el("tr", {}, ...columns.map((each) => el("th", {scope: "col"}, each)))),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((each) => el("td", {}, each)))))));
}

function uses({folder, dtype}) {
  const quoted = /^[\w@%+=:,./-]+$/.test(folder) ? folder : `'${folder.replaceAll("'", `'"'"'`)}'`;
  const loaded = dtype
    ? `from transformers import AutoModelForCausalLM\nmodel = AutoModelForCausalLM.from_pretrained(${JSON.stringify(folder)})`
    : `from peft import AutoPeftModelForCausalLM\nmodel = AutoPeftModelForCausalLM.from_pretrained(${JSON.stringify(folder)})`;
  return [
    [t("export.use_chat"), `paretune chat ${quoted}`],
    [t("export.use_serve"), `paretune serve ${quoted}`],
    [t("export.use_python"), loaded],
  ];
}

function commandOf(text) {
  const button = el("button", {type: "button", class: "button", onclick: () => copy(text, button, t("common.copied"))}, t("common.copy"));
  return el("div", {class: "command-line"}, el("pre", {class: "command", tabindex: "0"}, text), button);
}
