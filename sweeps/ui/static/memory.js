// Predicted memory of all methods on a model, and what it is made of.
import {post} from "./api.js";
import {byId, el, setMessage, setText} from "./dom.js";
import {legend, memoryBar, PARTS, verdict} from "./memory_bars.js";
import {GIB, gib} from "./units.js";
import {pause, t} from "./words.js";

const who = crypto.randomUUID?.() ?? String(Math.random());
let rows = [], chosen = {batch: null, length: null, checkpointing: null};

const listed = (id) => byId(id).value.split(/[\s,;，、]+/).filter(Boolean).map(Number);
const limit = () => (byId("limit").valueAsNumber > 0 ? byId("limit").valueAsNumber * GIB : null);

async function ask() {
  byId("said").hidden = true;
  setText(byId("waiting"), t("memory.predicting"));
  byId("predict").disabled = true;
  try {
    const answer = await post("/memory/grid", {who, model: byId("model").value, config: byId("config").value, batches: listed("batches"), lengths: listed("lengths")});
    if (answer.replaced) return;
    rows = answer.rows;
    setText(byId("command"), answer.command);
    chosen = {batch: rows.at(-1)?.batch_size ?? null, length: rows.at(-1)?.cutoff ?? null, checkpointing: null};
    show();
  } catch (error) {
    byId("said").hidden = false;
    setMessage(byId("said"), error.message);
    byId("result").hidden = true;
  }
  setText(byId("waiting"), "");
  byId("predict").disabled = false;
}

function show() {
  byId("result").hidden = false;
  filters();
  const shown = rows.filter((row) => (chosen.batch === null || row.batch_size === chosen.batch)
    && (chosen.length === null || row.cutoff === chosen.length)
    && (chosen.checkpointing === null || row.gradient_checkpointing === chosen.checkpointing));
  const most = Math.max(1, ...shown.map((row) => row.peak_bytes));
  const available = limit();
  const scale = 1.02 * Math.max(most, available !== null && available < 3 * most ? available : 0);
  byId("legend").replaceChildren(legend(shown));
  for (const name of Object.keys(chosen)) byId("rows").classList.toggle(`same-${name}`, chosen[name] !== null);
  byId("rows").tBodies[0].replaceChildren(...shown.map((row) => line(row, scale, available)));
  answer();
}

function line(row, scale, available) {
  return el("tr", {},
    el("th", {scope: "row"}, row.method),
    el("td", {class: "of-checkpointing"}, t(row.gradient_checkpointing ? "memory.yes" : "memory.no")),
    el("td", {class: "number of-batch"}, String(row.batch_size)),
    el("td", {class: "number of-length"}, String(row.cutoff)),
    el("td", {class: "number"}, gib(row.peak_bytes)),
    el("td", {}, verdict(row.peak_bytes, available) ?? "–"),
    el("td", {class: "memory-cell"}, memoryBar(row, row.peak_bytes, {scale, limit: available})));
}

/** What of the table is shown, and what the answer is about. */
function filters() {
  const choice = (name, label, values, text) => {
    const select = el("select", {onchange: () => { chosen[name] = JSON.parse(select.value); show(); }},
      el("option", {value: "null"}, t("memory.all")), ...values.map((value) => el("option", {value: JSON.stringify(value)}, text(value))));
    select.value = JSON.stringify(chosen[name]);
    return el("label", {class: "field inline"}, t(label), select);
  };
  const distinct = (key) => [...new Set(rows.map((row) => row[key]))];
  byId("filters").replaceChildren(
    choice("batch", "memory.column_batch", distinct("batch_size"), String),
    choice("length", "memory.column_length", distinct("cutoff"), String),
    choice("checkpointing", "memory.column_checkpointing", [false, true], (value) => t(value ? "memory.yes" : "memory.no")));
}

const percent = (share) => `${Math.round(100 * share)} %`;
const part = (row, name) => row[`${name}_bytes`] ?? 0;

/** Why QLoRA needs as much as LoRA, or doesn't, for the batch and length that are shown: from the split alone. */
function answer() {
  const batch = chosen.batch ?? rows.at(-1)?.batch_size, length = chosen.length ?? rows.at(-1)?.cutoff;
  const find = (method, checkpointing) => rows.find((row) => row.method.startsWith(method) && row.batch_size === batch
    && row.cutoff === length && row.gradient_checkpointing === checkpointing);
  const checkpointing = chosen.checkpointing ?? false;
  const lora = find("LoRA", checkpointing), qlora = find("QLoRA 4-bit", checkpointing), less = find("QLoRA 4-bit", true);
  if (!lora || !qlora) {
    byId("answer").replaceChildren(el("p", {}, t("memory.no_rows")));
    return;
  }
  const fall = lora.peak_bytes - qlora.peak_bytes;
  const saved = part(lora, "weights") - part(qlora, "weights");
  const [name, bytes] = largest(lora, ["weights"]);
  const values = {batch, length, saved: gib(saved), lora: gib(lora.peak_bytes), qlora: gib(qlora.peak_bytes), qlora_weights: gib(part(qlora, "weights")),
    lora_weights: gib(part(lora, "weights")), part: t(`memory.part_${name}`), part_bytes: gib(bytes), share: percent(bytes / lora.peak_bytes),
    weights_share: percent(part(lora, "weights") / lora.peak_bytes), fall: `${gib(fall)} (${percent(fall / lora.peak_bytes)})`};
  const sentences = [t(bytes >= part(lora, "weights") || fall < 0.3 * lora.peak_bytes ? "memory.answer_same" : "memory.answer_less", values)];
  if (!checkpointing && less && less.peak_bytes < 0.95 * qlora.peak_bytes) {
    sentences.push(t("memory.answer_checkpointing", {before: gib(part(qlora, "activations")), after: gib(part(less, "activations")), peak: gib(less.peak_bytes)}));
  }
  const [rest] = largest(less ?? qlora, []);
  if (rest === "logits") sentences.push(t("memory.answer_logits", {logits: gib(part(less ?? qlora, "logits"))}));
  else if (rest === "activations") sentences.push(t("memory.answer_shorter", {part: t("memory.part_activations")}));
  byId("answer").replaceChildren(el("p", {}, sentences.join(pause)));
}

/** The largest part of a peak, of those that quantization can't change if some are left out. */
function largest(row, without) {
  return PARTS.filter((name) => !without.includes(name)).map((name) => [name, part(row, name)]).sort((one, other) => other[1] - one[1])[0];
}

byId("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
byId("limit").addEventListener("input", () => { if (rows.length) show(); });
byId("config-file").addEventListener("change", async (event) => {
  const file = event.currentTarget.files[0];
  if (file) byId("config").value = (await file.slice(0, 2 ** 18 + 1).text());
});
ask();
