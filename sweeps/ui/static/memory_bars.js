// Predicted memory as a bar of its parts, against the memory that there is. Words say what colours show.
import {el} from "./dom.js";
import {gib} from "./units.js";
import {t} from "./words.js";

// Parts in the order of the bar; each has a class with its colour.
export const PARTS = ["weights", "gradients", "optimizer", "update", "activations", "logits", "quantization", "reference", "value",
  "reward", "gathered", "other", "correction"];

/** The parts of a JSON object with NAME_bytes, largest parts of the same kind together: [[name, bytes], ...]. */
export function parts(object) {
  return PARTS.map((name) => [name, object[`${name}_bytes`] ?? 0]).filter(([, bytes]) => bytes > 0);
}

/** A bar; `scale` is how many bytes its whole width stands for, `limit` gets a line. */
export function memoryBar(object, peak, {scale, limit = null}) {
  const found = parts(object);
  const bar = el("div", {class: "memory-bar", role: "img", "aria-label": spoken(found, peak, limit)});
  const sum = found.reduce((total, [, bytes]) => total + bytes, 0) || 1;
  for (const [name, bytes] of found) {
    const part = el("span", {class: `memory-part part-${name}`, title: `${t(`memory.part_${name}`)}: ${gib(bytes)}`});
    part.style.width = `${(100 * bytes * Math.min(1, peak / sum)) / scale}%`;
    bar.append(part);
  }
  if (limit !== null && limit <= scale) {
    const line = el("span", {class: "memory-limit", title: t("memory.limit_is", {limit: gib(limit)})});
    line.style.left = `${(100 * limit) / scale}%`;
    bar.append(line);
  }
  return bar;
}

function spoken(found, peak, limit) {
  const listed = found.map(([name, bytes]) => `${t(`memory.part_${name}`)} ${gib(bytes)}`).join(", ");
  const of = limit === null ? "" : ` ${t("memory.limit_is", {limit: gib(limit)})}`;
  return `${gib(peak)}: ${listed}.${of}`;
}

/** The names of the colours that some bars use. */
export function legend(objects) {
  const used = PARTS.filter((name) => objects.some((object) => (object[`${name}_bytes`] ?? 0) > 0));
  return el("ul", {class: "memory-legend"}, ...used.map((name) =>
    el("li", {}, el("span", {class: `swatch part-${name}`, "aria-hidden": "true"}), t(`memory.part_${name}`))));
}

/** "fits", or "does not fit" with what is missing; nothing where no limit is known. */
export function verdict(peak, limit) {
  if (limit === null || limit === undefined) return null;
  return peak <= limit
    ? el("span", {class: "tag state-done"}, t("memory.fits"))
    : el("span", {class: "tag state-failed"}, t("memory.does_not_fit", {over: gib(peak - limit)}));
}
