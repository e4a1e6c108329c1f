// The table of a run's trials: sorted, filtered, columns on and off; of a thousand rows only those in sight are made.
import {href} from "./api.js";
import {el, english, message, renew, setText} from "./dom.js";
import {settingName, valueText} from "./run_figures.js";
import {gib, number, quality} from "./units.js";
import {language, t} from "./words.js";

const ROW_HEIGHT = 38; // pixels; runs.css gives rows this height
const SPARE = 16; // rows that are made above and below those in sight
const WIDTHS = {trial: 8.5, cell: 10, status: 9, step: 9, error: 26, peak: 8, predicted: 8.5}; // rem
const HIDDEN_AT_FIRST = new Set(["role", "predicted", "seed", "model", "data"]);

export const statusText = (row) => t(row.stopped_by_hand ? "run.status_by_hand" : `run.status_${row.status}`);

/** A reason of a record in the page's language where it is one of the frequent kinds; else as it stands there. */
export const reasonText = (reason, kind) => (kind && language !== "en" ? t(kind.key, kind.values) : reason);

/** Why a trial failed, for its row. */
export function errorText(row) {
  const text = reasonText(row.error, row.error_kind);
  return text === row.error ? english(text) : text;
}

/** Where a stopped trial stood: `step 10, 3rd of 9`. */
export function stopText(stop) {
  if (!stop) return null;
  const parts = [t("run.stopped_at", {step: stop.step ?? "–"})];
  if (stop.reason) parts.push(reasonText(stop.reason, stop.kind));
  if (stop.rank) parts.push(t("run.stopped_rank", {rank: stop.rank, of: stop.of, value: number(stop.value), best: number(stop.best)}));
  return parts.join("; ");
}

/** The quality on a further evaluation set, or the reason that it has none; a dash where nothing was scored on it. */
export function setQuality(scored) {
  if (scored?.not_measured) return el("span", {}, t("run.not_measured"), ": ", english(scored.not_measured));
  return quality(scored?.quality, scored?.quality_unit);
}

function columnsFor(settings, sets, key) {
  const fixed = [
    {name: "trial", value: (row) => row.id, cell: (row) => el("a", {href: href(`/runs/${key}/trials/${row.id}`)}, row.id.slice(0, 12))},
    {name: "role", value: (row) => row.role, cell: (row) => t(`run.role_${row.role}`)},
    {name: "cell", value: (row) => row.cell},
    {name: "status", value: (row) => row.status, cell: statusCell},
    {name: "step", number: true, value: (row) => row.step ?? -1, cell: (row) => progress(row)},
    {name: "objective", number: true, value: (row) => row.objective, cell: (row) => number(row.objective)},
    {name: "quality", number: true, value: (row) => row.quality, cell: (row) => quality(row.quality, row.quality_unit), title: (row) => row.quality_name},
    {name: "peak", number: true, value: (row) => row.peak_bytes, cell: (row) => gib(row.peak_bytes)},
    {name: "predicted", number: true, value: (row) => row.predicted_bytes, cell: (row) => gib(row.predicted_bytes)},
    {name: "speed", number: true, value: (row) => row.tokens_per_second, cell: (row) => number(row.tokens_per_second && Math.round(row.tokens_per_second))},
  ];
  const scored = sets.map((name) => ({
    name: `set:${name}`, label: name, number: true, value: (row) => row.sets[name]?.quality ?? null,
    cell: (row) => setQuality(row.sets[name]), title: (row) => (row.sets[name] ? row.sets[name].not_measured ?? settingName(row.sets[name].quality_name) : null),
  }));
  const searched = settings.map((path) => ({
    name: `setting:${path}`, label: settingName(path), number: true, title: () => path,
    value: (row) => row.settings[path], cell: (row) => (path in row.settings ? valueText(row.settings[path]) : ""),
  }));
  const last = [
    {name: "seed", number: true, value: (row) => row.seed, cell: (row) => String(row.seed ?? "")},
    {name: "model", value: (row) => row.model}, {name: "data", value: (row) => row.data},
    {name: "error", value: (row) => row.error ?? stopText(row.stop), cell: (row) => (row.error ? errorText(row) : message("span", {}, stopText(row.stop) ?? "")), title: (row) => row.error ?? stopText(row.stop)},
  ];
  return [...fixed, ...scored, ...searched, ...last].map((column) => ({label: column.label ?? t(`run.column_${column.name}`), ...column}));
}

function statusCell(row) {
  return el("span", {class: `tag state-${row.status}`, title: row.doing ?? stopText(row.stop) ?? ""}, statusText(row));
}

function progress(row) {
  if (row.step === null) return "–";
  if (!row.steps) return String(row.step);
  return el("span", {}, row.status === "running" ? el("progress", {max: row.steps, value: row.step, "aria-hidden": "true"}) : null, ` ${row.step}/${row.steps}`);
}

export class TrialTable {
  /** `elements`: frame, table, search, status, cell, columns, count. `key`: of the run. */
  constructor(elements, key) {
    Object.assign(this, {elements, key, rows: [], columns: [], shown: [], order: {name: null, descending: false}});
    this.hidden = new Set(JSON.parse(localStorage.getItem("paretune-hidden-columns") ?? "null") ?? HIDDEN_AT_FIRST);
    this.texts = new WeakMap(); // what a row is searched by
    this.made = new Map(); // id -> {row, element}: kept while it is in sight and the same
    elements.frame.addEventListener("scroll", () => this.#soon(), {passive: true});
    new ResizeObserver(() => this.#soon()).observe(elements.frame);
    for (const control of [elements.search, elements.status, elements.cell]) control.addEventListener("input", () => this.#filter(true));
  }

  update(rows, settings) {
    const sets = [...new Set(rows.flatMap((row) => Object.keys(row.sets ?? {})))].sort();
    const names = JSON.stringify([settings, sets]);
    if (names !== this.settings) {
      this.settings = names;
      this.columns = columnsFor(settings, sets, this.key);
      this.#head();
      this.#choices();
    }
    this.rows = rows;
    options(this.elements.status, rows.map((row) => row.status), (status) => t(`run.status_${status}`));
    options(this.elements.cell, rows.map((row) => row.cell), (cell) => cell);
    this.#filter();
  }

  get visibleColumns() {
    return this.columns.filter((column) => !this.hidden.has(column.name));
  }

  #head() {
    const cells = this.visibleColumns.map((column) => {
      const button = el("button", {type: "button", onclick: () => this.#sortBy(column.name)}, column.label);
      return el("th", {scope: "col", class: column.number ? "number" : null, "data-column": column.name}, button);
    });
    this.elements.table.tHead.replaceChildren(el("tr", {}, ...cells));
    // Fixed widths: with widths by content, each scrolled row would lay out the whole table anew.
    const widths = this.visibleColumns.map((column) => WIDTHS[column.name] ?? (column.number ? 7 : 10));
    this.elements.table.querySelector("colgroup")?.remove();
    this.elements.table.prepend(el("colgroup", {}, ...widths.map((width) => el("col", {style: `width:${width}rem`}))));
    this.elements.table.style.width = `max(100%, ${widths.reduce((sum, width) => sum + width, 0)}rem)`;
    this.made.clear();
    this.#marks();
  }

  #marks() {
    for (const cell of this.elements.table.tHead.querySelectorAll("th")) {
      const sorted = cell.dataset.column === this.order.name;
      if (sorted) cell.setAttribute("aria-sort", this.order.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  #choices() {
    this.elements.columns.replaceChildren(...this.columns.map((column) => {
      const box = el("input", {type: "checkbox"});
      box.checked = !this.hidden.has(column.name);
      box.addEventListener("change", () => {
        if (box.checked) this.hidden.delete(column.name); else this.hidden.add(column.name);
        localStorage.setItem("paretune-hidden-columns", JSON.stringify([...this.hidden]));
        this.#head();
        this.#draw(true);
      });
      return el("label", {class: "choice"}, box, ` ${column.label}`);
    }));
  }

  #sortBy(name) {
    const descending = this.order.name === name ? !this.order.descending : Boolean(this.columns.find((column) => column.name === name)?.number);
    this.order = {name, descending};
    this.#marks();
    this.#filter(true);
  }

  /** `top`: from the first row on, as after a new order. */
  #filter(top = false) {
    const {search, status, cell} = this.elements;
    const wanted = search.value.trim().toLowerCase();
    const text = (row) => {
      if (!this.texts.has(row)) this.texts.set(row, [row.id, row.cell, row.status, row.role, row.error ?? "", reasonText(row.error, row.error_kind) ?? "", ...Object.values(row.settings).map(valueText)].join(" ").toLowerCase());
      return this.texts.get(row);
    };
    this.shown = this.rows.filter((row) => (!status.value || row.status === status.value) && (!cell.value || row.cell === cell.value) && (!wanted || text(row).includes(wanted)));
    const column = this.columns.find((each) => each.name === this.order.name);
    if (column) this.shown.sort((a, b) => compare(column.value(a), column.value(b), this.order.descending));
    setText(this.elements.count, t("run.shown", {shown: this.shown.length, all: this.rows.length}));
    this.elements.table.setAttribute("aria-rowcount", String(this.shown.length + 1));
    if (top) this.elements.frame.scrollTop = 0;
    this.#draw(true);
  }

  #soon() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = null; this.#draw(); });
  }

  /** The rows in sight, with room above and below for the others. Rows that stay are not touched: layout takes longest. */
  #draw(anew = false) {
    const {frame} = this.elements;
    const top = Math.max(0, Math.floor(frame.scrollTop / ROW_HEIGHT));
    const bottom = Math.min(this.shown.length, Math.ceil((frame.scrollTop + frame.clientHeight) / ROW_HEIGHT));
    if (!anew && this.drawn && top >= this.drawn.first && bottom <= this.drawn.last) return;
    const first = Math.max(0, top - SPARE), last = Math.min(this.shown.length, bottom + SPARE);
    this.drawn = {first, last};
    const rows = this.shown.slice(first, last).map((row, place) => this.#row(row, first + place));
    this.#place(rows, first, this.shown.length - last);
    const ids = new Set(this.shown.slice(first, last).map((row) => row.id));
    for (const id of this.made.keys()) if (!ids.has(id)) this.made.delete(id);
  }

  #place(rows, above, below) {
    const body = this.elements.table.tBodies[0];
    const room = () => el("tr", {class: "room", "aria-hidden": "true"}, el("td", {}));
    this.rooms ??= [room(), room()];
    for (const [place, count] of [[0, above], [1, below]]) {
      this.rooms[place].style.height = `${count * ROW_HEIGHT}px`;
      this.rooms[place].hidden = count === 0;
    }
    const wanted = [this.rooms[0], ...rows, this.rooms[1]];
    const keep = new Set(wanted);
    for (const child of [...body.children]) if (!keep.has(child)) child.remove();
    let next = body.firstChild;
    for (const element of wanted) {
      if (element === next) next = next.nextSibling;
      else body.insertBefore(element, next);
    }
  }

  #row(row, place) {
    const known = this.made.get(row.id);
    if (known?.row === row) {
      known.element.setAttribute("aria-rowindex", String(place + 2));
      return known.element;
    }
    const cells = this.visibleColumns.map((column) => {
      const content = column.cell ? column.cell(row) : column.value(row);
      return el("td", {class: column.number ? "number" : null, title: column.title?.(row)}, content ?? "");
    });
    const element = known?.element ?? el("tr");
    element.setAttribute("aria-rowindex", String(place + 2));
    renew(element, ...cells);
    this.made.set(row.id, {row, element});
    return element;
  }
}

function compare(a, b, descending) {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b); // last in both orders
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
  return descending ? -order : order;
}

function options(select, values, text) {
  const distinct = [...new Set(values)].sort();
  const known = [...select.options].slice(1).map((option) => option.value);
  if (JSON.stringify(distinct) === JSON.stringify(known)) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...distinct.map((value) => el("option", {value}, text(value))));
  select.value = distinct.includes(chosen) ? chosen : "";
}
