// The figures of one trial, and of several side by side, as plain descriptions for charts.js.
import {plainText} from "./charts.js";
import {SERIES} from "./colours.js";
import {GIB, gib, number} from "./units.js";
import {t} from "./words.js";

/** Peaks by phase as bars, the prediction as a line. `sides`: [{name, memory}], one or several. */
export function memoryFigure(sides) {
  const known = sides.filter(({memory}) => Object.values(memory.phases ?? {}).some((value) => value !== null));
  const phases = ["load", "train", "eval"];
  const names = phases.map((phase) => t(`trial.phase_${phase}`));
  const predicted = sides.filter(({memory}) => memory.predicted);
  return {
    label: t("trial.memory_label", {values: known.map(({name, memory}) => `${name}: ${phases.map((phase) => gib(memory.phases[phase])).join(", ")}`).join("; ")}),
    traces: () => known.length + predicted.length === 0 ? [] : sides.map(({name, memory}, place) => ({
      type: "bar", name: plainText(name), marker: {color: SERIES[place], opacity: [1, 1, 1, 0.45]},
      x: [...names, t("trial.predicted")],
      y: [...phases.map((phase) => bytes(memory.phases?.[phase])), bytes(memory.predicted)],
      text: [...phases.map((phase) => gib(memory.phases?.[phase])), gib(memory.predicted)], textposition: "auto", hovertemplate: "%{x}: %{text}<extra>%{fullData.name}</extra>",
    })),
    layout: () => ({height: 320, barmode: "group", showlegend: sides.length > 1, yaxis: {title: {text: t("run.axis_peak")}, rangemode: "tozero"}}),
    table: () => ({head: [t("run.trial"), ...names, t("trial.predicted")], rows: sides.map(({name, memory}) => [name, ...phases.map((phase) => gib(memory.phases?.[phase])), gib(memory.predicted)])}),
  };
}

const bytes = (value) => (value === null || value === undefined ? null : value / GIB);

const FIRST = ["objective", "eval_loss", "train_loss"];
const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);

/** The names of all curves, those that are asked for most often first. `sides`: [{curves}]. */
export const curveNames = (sides) => [...new Set(sides.flatMap((side) => Object.keys(side.curves)))].sort((one, other) => rank(one) - rank(other));

/** One curve of each side. `sides`: [{name, curves}]. */
export function curvesFigure(sides, name) {
  const shown = sides.map((side, place) => ({...side, place})).filter((side) => side.curves[name]?.length);
  return {
    label: t("run.curves_label", {name, count: shown.length}),
    traces: () => shown.map((side) => ({
      type: "scatter", mode: side.curves[name].length > 30 ? "lines" : "lines+markers", name: plainText(side.name),
      x: side.curves[name].map(([step]) => step), y: side.curves[name].map(([, value]) => value),
      line: {color: SERIES[side.place], width: 1.6}, hovertemplate: `${t("run.step")} %{x}: %{y:.4g}<extra>%{fullData.name}</extra>`,
    })),
    layout: () => ({height: 340, showlegend: sides.length > 1, xaxis: {title: {text: t("run.step")}}, yaxis: {title: {text: plainText(name.replaceAll("_", " "))}}}),
    table: () => ({head: [t("run.trial"), t("run.step"), name], rows: shown.flatMap((side) => side.curves[name].map(([step, value]) => [side.name, step, number(value)]))}),
  };
}
