// The data of a draft as the model will see it: counts, lengths, warnings, and pages of rows with the tokens of the loss marked.
import {post, upload} from "./api.js";
import {byId, el, setMessage, setText} from "./dom.js";
import {number} from "./units.js";
import {t} from "./words.js";

const PAGE = 10;

export class DataPreview {
  /** `text()` is the draft's; `used(name)` makes a file the draft's data. */
  constructor(frame, {id, who, text, used}) {
    Object.assign(this, {frame, id, who, text, used});
    this.first = 0;
    byId("preview-load").addEventListener("click", () => { this.first = 0; this.summarized = null; this.load(); });
    for (const name of ["preview-stage", "preview-part"]) byId(name).addEventListener("change", () => { this.first = 0; this.load(); });
    byId("data-file").addEventListener("change", (event) => this.add(event.currentTarget));
    byId("use-data").addEventListener("change", (event) => { if (event.currentTarget.value) this.used(event.currentTarget.value); });
  }

  stages(tree) {
    const kinds = (Array.isArray(tree?.stages) ? tree.stages : []).map((entry) => entry?.name ?? entry?.kind).filter(Boolean);
    const select = byId("preview-stage");
    if (kinds.join() === [...select.options].map((option) => option.value).join()) return;
    select.replaceChildren(...kinds.map((kind) => el("option", {value: kind}, kind)));
  }

  offered({embedded, registered, files, faults}) {
    const select = byId("use-data");
    const group = (label, names) => (names.length ? el("optgroup", {label}, ...names.map((value) => el("option", {value}, value))) : null);
    select.replaceChildren(el("option", {value: ""}, t("new.choose_data")),
      ...[group(t("new.data_embedded"), embedded), group("dataset_info.json", registered), group(t("new.data_files"), files)].filter(Boolean));
    byId("data-faults").hidden = !faults.length;
    setText(byId("data-faults"), faults.join("\n"));
  }

  open() {
    if (!this.loaded) this.load();
  }

  async add(input) {
    const file = input.files[0];
    if (!file) return;
    this.busy(t("new.uploading", {name: file.name}));
    try {
      const {name} = await upload(`/new/data?name=${encodeURIComponent(file.name)}`, file);
      this.busy(null);
      this.used(name);
    } catch (error) {
      this.busy(error.message, "error");
    }
    input.value = "";
  }

  busy(text, kind = "notice") {
    const line = byId("preview-said");
    line.hidden = text === null;
    line.className = kind;
    setMessage(line, text ?? "");
  }

  /** A page of rows, and once it is there the counts and lengths of all rows. */
  async load() {
    this.loaded = true;
    const pages = await this.ask({rows_from: this.first, rows: PAGE, part: byId("preview-part").value});
    if (!pages) return;
    this.frame.replaceChildren(...pages.flatMap((page) => [...page.rows.map(row), this.pages(page)]));
    if (this.first > 0 || this.summarized === this.text()) return;
    const said = this.text();
    const summaries = await this.ask({}, t("new.summary_reading"));
    if (!summaries) return;
    this.summarized = said;
    byId("preview-summary").replaceChildren(...summaries.flatMap(summary));
  }

  async ask(options, waiting = t("new.preview_reading")) {
    this.busy(waiting);
    try {
      const answer = await post(`/new/${this.id}/preview`, {text: this.text(), who: this.who, stage: byId("preview-stage").value || null, ...options});
      if (answer.replaced) return null;
      if (answer.refused || answer.error) {
        this.busy(answer.error ?? answer.problems.map((problem) => problem.message).join("\n"), "error");
        return null;
      }
      this.busy(null);
      return answer.previews;
    } catch (error) {
      this.busy(error.message, "error");
      return null;
    }
  }

  pages(page) {
    const total = page.total_rows;
    const go = (first) => { this.first = first; this.load(); byId("panel-data").scrollIntoView(); };
    const last = Math.min(total, this.first + PAGE);
    return el("p", {class: "buttons"},
      el("button", {type: "button", class: "button", disabled: this.first === 0, onclick: () => go(Math.max(0, this.first - PAGE))}, t("new.previous")),
      el("span", {class: "facts"}, t("new.rows_of", {first: Math.min(this.first + 1, total), last, total})),
      el("button", {type: "button", class: "button", disabled: last >= total, onclick: () => go(this.first + PAGE)}, t("new.next")));
  }
}

/** Counts, lengths and warnings over all rows. */
function summary(preview) {
  const {tokens, rows} = preview;
  const counts = Object.entries(rows ?? {}).map(([part, count]) => `${t(`new.part_of_${part}`)}: ${count}`).join(", ");
  return [
    el("h3", {}, `${preview.data}, ${preview.stage}, ${preview.model}`),
    el("p", {class: "facts"}, counts),
    el("p", {class: "facts"}, t("new.lengths", {least: tokens.least, median: tokens.median, most: tokens.most, cutoff: tokens.cutoff,
      cut: `${number(100 * tokens.cut_share)} %`, loss: `${number(100 * tokens.learned_share)} %`, padding: `${number(100 * tokens.padding_share)} %`})),
    histogram(preview.histogram),
    ...(preview.problems ?? []).map((text) => el("p", {class: "notice", lang: "en"}, visible(text))),
    ...((preview.notes ?? []).length ? [el("details", {class: "about"}, el("summary", {}, t("new.notes", {count: preview.notes.length})),
      el("ul", {}, ...preview.notes.map((note) => el("li", {lang: "en"}, visible(note)))))] : []),
  ].filter(Boolean);
}

function histogram(bins) {
  if (!bins?.length) return null;
  const top = Math.max(...bins.map(([, , count]) => count));
  return el("table", {class: "histogram"}, el("caption", {}, t("new.histogram")), el("tbody", {}, ...bins.map(([low, high, count]) => {
    const bar = el("span", {class: "histogram-bar"});
    bar.style.width = `${(100 * count) / top}%`;
    return el("tr", {}, el("th", {scope: "row"}, `${low}–${high}`), el("td", {}, bar), el("td", {class: "number"}, String(count)));
  })));
}

// What a browser obeys instead of showing it: marks of direction and other characters without a picture.
const HIDDEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

function visible(text) {
  return text.replace(HIDDEN, (character) => {
    const code = character.codePointAt(0);
    return code < 32 ? String.fromCodePoint(0x2400 + code) : `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
  });
}

/** A row as the model sees it: its examples with the tokens of the loss marked, or why it has none. */
function row(found) {
  const figure = el("figure", {class: "sample"}, el("figcaption", {}, `${found.number + 1} · ${found.where}`));
  for (const text of [found.error, ...(found.warnings ?? [])].filter(Boolean)) figure.append(el("p", {class: "notice", lang: "en"}, visible(text)));
  for (const example of found.examples ?? []) {
    const said = [example.side, t("new.tokens", {tokens: example.tokens, loss: example.loss_tokens}), example.cut ? t("new.cut") : null];
    figure.append(el("p", {class: "facts"}, said.filter(Boolean).join(" · ")), marked(example.pieces));
  }
  return figure;
}

function marked(pieces) {
  const body = el("pre", {class: "example", tabindex: "0"});
  for (const piece of pieces) body.append(piece.loss ? el("mark", {}, visible(piece.text)) : visible(piece.text));
  return body;
}
