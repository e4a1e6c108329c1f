// The figures of a run as plain descriptions for charts.js: made from rows, drawn there.
import {SCALE, scaleStep} from "./colours.js";
import {plainText} from "./charts.js";
import {GIB, gib, isShare, number, quality} from "./units.js";
import {t} from "./words.js";

const EQUAL_PEAKS = 0.02; // how well a measurement of memory repeats (reports/statistics/pareto.py)
const PLACES = [240, 100]; // of points in a figure, across and up: about half as far apart as a point is wide
const SYMBOLS = {done: "circle", stopped: "triangle-down-open", failed: "x-open", out_of_memory: "x-open", interrupted: "diamond-open"};

export const settingName = (path) => path.split(".").at(-1).replaceAll("_", " ");
export const valueText = (value) => (typeof value === "string" ? value : typeof value === "number" ? number(value) : JSON.stringify(value ?? null));

/** What belongs together: one stage, model, data set and measure. */
export const groupOf = (row) => [row.stage, row.model, row.data, row.quality_name].join(" · ");

export function trialText(row) {
  const settings = Object.entries(row.settings).map(([path, value]) => `${settingName(path)} ${valueText(value)}`);
  return [
    `<b>${plainText(row.cell)}</b> ${plainText(row.id)}${row.role === "search" ? "" : `, ${t(`run.role_${row.role}`)}`}`,
    plainText(settings.join(", ")),
    row.quality === null ? "" : plainText(`${row.quality_name} ${quality(row.quality, row.quality_unit)}`),
    row.peak_bytes === null ? "" : `${t("run.peak")} ${gib(row.peak_bytes)}`,
  ].filter(Boolean).join("<br>");
}

/** Points that nothing dominates, cheapest first: `{peak, quality}`. */
export function front(points, higher) {
  const sign = higher ? 1 : -1;
  const dominates = (a, b) => {
    const gain = sign * (a.quality - b.quality);
    return gain >= 0 && a.peak <= b.peak * (1 + EQUAL_PEAKS) && (gain > 0 || a.peak < b.peak * (1 - EQUAL_PEAKS));
  };
  return points.filter((point) => !points.some((other) => dominates(other, point))).sort((a, b) => a.peak - b.peak);
}

/** Quality against peak memory; the front joins the best trials of cells, chosen by the objective. */
export function paretoFigure(rows, cells, colourOf, click) {
  const shown = rows.filter((row) => row.quality !== null && row.peak_bytes !== null);
  const bests = new Map(cells.filter((cell) => cell.best).map((cell) => [cell.best.trial, cell]));
  const points = shown.filter((row) => bests.has(row.id)).map((row) => ({peak: row.peak_bytes, quality: row.quality, row}));
  const higher = shown[0]?.quality_higher_is_better !== false;
  const steps = front(points, higher);
  const name = shown[0]?.quality_name ?? "";
  const percent = isShare(shown[0]?.quality_unit);
  return {
    label: t("run.pareto_label", {trials: shown.length, front: steps.map((each) => each.row.cell).join(", ") || "–"}),
    click,
    traces: (colours) => shown.length === 0 ? [] : [...methodTraces(shown, bests, colourOf, colours), frontTrace(steps, colours)],
    layout: () => ({
      height: 420,
      xaxis: {title: {text: t("run.axis_peak")}, rangemode: "tozero"},
      yaxis: {title: {text: plainText(name.replaceAll("_", " "))}, tickformat: percent ? ".0%" : ""},
    }),
    table: () => ({
      head: [t("run.cell"), t("run.trial"), t("run.peak"), t("run.quality"), t("run.on_front")],
      rows: shown.map((row) => [row.cell, row.id, gib(row.peak_bytes), quality(row.quality, row.quality_unit),
        steps.some((each) => each.row === row) ? t("run.yes") : ""]),
    }),
  };
}

/** A trace for each method and status, and one for the best of cells: sizes that differ point by point take Plotly longer. */
function methodTraces(rows, bests, colourOf, colours) {
  const traces = new Map(), taken = new Set(), placeOf = placesOf(rows);
  for (const row of rows) {
    const best = bests.has(row.id);
    const kind = `${row.method} ${best ? "best" : row.status}`, place = `${kind} ${placeOf(row)}`;
    if (!best && taken.has(place)) continue; // it would be covered: a thousand points take Plotly a second
    taken.add(place);
    if (!traces.has(kind)) traces.set(kind, {row, best, rows: []});
    traces.get(kind).rows.push(row);
  }
  const named = new Set();
  return [...traces.values()].sort((one, other) => one.best - other.best).map(({row, best, rows: own}) => {
    const first = !named.has(row.method);
    named.add(row.method);
    return {
      type: "scatter", mode: "markers", name: plainText(row.method), legendgroup: row.method, showlegend: first, hoverinfo: "text",
      x: own.map((each) => each.peak_bytes / GIB), y: own.map((each) => each.quality),
      text: own.map(trialText), customdata: own.map((each) => each.id),
      marker: {
        color: colourOf(row.method), symbol: SYMBOLS[row.status] ?? "circle", size: best ? 14 : 8, opacity: best ? 1 : 0.55,
        line: {width: best ? 1.5 : 1, color: colours.paper},
      },
    };
  });
}

/** Where a point stands in a figure, so coarsely that points of one place cover one another. */
function placesOf(rows) {
  const places = (value, count) => {
    const values = rows.map(value), low = values.reduce((a, b) => Math.min(a, b)), size = values.reduce((a, b) => Math.max(a, b)) - low;
    return (row) => (size > 0 ? Math.round(((value(row) - low) / size) * count) : 0);
  };
  const across = places((row) => row.peak_bytes, PLACES[0]), up = places((row) => row.quality, PLACES[1]);
  return (row) => `${across(row)} ${up(row)}`;
}

function frontTrace(steps, colours) {
  return {
    type: "scatter", mode: "lines", name: t("run.front"), hoverinfo: "skip",
    x: steps.map((each) => each.peak / GIB), y: steps.map((each) => each.quality),
    line: {shape: "hv", color: colours.ink, width: 1.3},
  };
}

/** Curves by cell. Those of a cell are one trace with gaps: a thousand traces would take seconds. */
export function curveFigure({name, curves}, rowOf, colourOf, click) {
  const cells = [...new Set(curves.map((curve) => curve.cell))];
  return {
    label: t("run.curves_label", {name: name ?? "", count: curves.length}),
    click,
    traces: () => cells.map((cell) => curveTrace(cell, curves.filter((curve) => curve.cell === cell), rowOf, colourOf, name)),
    layout: () => ({height: 420, xaxis: {title: {text: t("run.step")}}, yaxis: {title: {text: plainText((name ?? "").replaceAll("_", " "))}}}),
    table: () => ({
      head: [t("run.cell"), t("run.trial"), t("run.step"), name ?? ""],
      rows: curves.filter((curve) => curve.points.length).map((curve) => [curve.cell, curve.trial, curve.points.at(-1)[0], number(curve.points.at(-1)[1])]),
    }),
  };
}

function curveTrace(cell, curves, rowOf, colourOf, name) {
  const x = [], y = [], text = [], customdata = [];
  for (const curve of curves) {
    const shown = plainText(curve.trial);
    for (const [step, value] of curve.points) {
      x.push(step); y.push(value); text.push(shown); customdata.push(curve.trial);
    }
    x.push(null); y.push(null); text.push(""); customdata.push(null);
  }
  const method = rowOf(curves[0].trial)?.method ?? cell;
  // A curve of a single point has no line.
  const marked = (curves.length === 1 && x.length <= 40) || curves.some(({points}) => points.length === 1);
  return {type: "scatter", mode: marked ? "lines+markers" : "lines", name: plainText(cell), x, y, text, customdata,
    meta: [plainText(cell), plainText(name)], hovertemplate: `<b>%{meta[0]}</b> %{text}<br>${t("run.step")} %{x}, %{meta[1]} %{y:.4g}<extra></extra>`,
    opacity: curves.length > 20 ? 0.45 : 0.85, line: {color: colourOf(method), width: 1.4}, connectgaps: false};
}

/** Where a value stands on an axis from 0 to 1: numbers by size (wide ranges by their logarithm), others in their order. */
export function axisOf(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const numbers = known.every((value) => typeof value === "number") && known.length > 0;
  if (!numbers) {
    const texts = [...new Set(known.map(valueText))].sort();
    return {place: (value) => (texts.length > 1 ? texts.indexOf(valueText(value)) / (texts.length - 1) : 0.5), low: texts[0] ?? "–", high: texts.at(-1) ?? "–"};
  }
  let low = Math.min(...known), high = Math.max(...known);
  const log = low > 0 && high / low > 50;
  const scaled = (value) => (log ? Math.log(value) : value);
  return {place: (value) => (high > low ? (scaled(value) - scaled(low)) / (scaled(high) - scaled(low)) : 0.5), low: number(low), high: number(high)};
}

/** A line for each trial over the settings that differ, coloured by its objective; the best are drawn last. */
export function parallelFigure(rows, columns, click) {
  const shown = rows.filter((row) => row.objective !== null && row.role === "search");
  const paths = columns.filter((path) => shown.some((row) => row.settings[path] !== undefined));
  const objectives = shown.map((row) => row.objective);
  const low = Math.min(...objectives), high = Math.max(...objectives);
  const axes = [...paths.map((path) => axisOf(shown.map((row) => row.settings[path]))), axisOf(objectives)];
  const names = [...paths.map(settingName), t("run.objective")];
  return {
    label: t("run.parallel_label", {trials: shown.length, settings: names.slice(0, -1).join(", ")}),
    click,
    traces: () => paths.length === 0 || shown.length < 2 ? [] : SCALE.map((colour, step) => parallelTrace(shown, paths, axes, colour, (row) => scaleStep(row.objective, low, high) === step)).filter((trace) => trace.x.length),
    layout: (colours) => ({
      height: 360, showlegend: false, margin: {l: 8, r: 8, t: 36, b: 40},
      xaxis: {tickvals: names.map((_, place) => place), ticktext: names.map(plainText), range: [-0.25, names.length - 0.75], showgrid: true, gridcolor: colours.muted, side: "bottom"},
      yaxis: {visible: false, range: [-0.12, 1.12]},
      annotations: axes.flatMap((axis, place) => [[axis.low, -0.07], [axis.high, 1.07]].map(([text, y]) => ({x: place, y, text: plainText(text), showarrow: false, font: {size: 11, color: colours.muted}}))),
    }),
    table: () => ({head: [t("run.trial"), ...names], rows: shown.map((row) => [row.id, ...paths.map((path) => valueText(row.settings[path])), number(row.objective)])}),
  };
}

function parallelTrace(rows, paths, axes, colour, belongs) {
  const x = [], y = [], text = [], customdata = [];
  for (const row of rows.filter(belongs)) {
    const values = [...paths.map((path) => row.settings[path]), row.objective], said = trialText(row);
    values.forEach((value, place) => {
      x.push(place); y.push(value === undefined || value === null ? null : axes[place].place(value));
      text.push(said); customdata.push(row.id);
    });
    x.push(null); y.push(null); text.push(""); customdata.push(null);
  }
  return {type: "scatter", mode: "lines", x, y, text, customdata, hoverinfo: "text", line: {color: colour, width: 1.3}, opacity: 0.7, connectgaps: false};
}

/** How much each setting mattered, a bar for each setting of each cell. */
export function importanceFigure(cells, colourOf, methodOf) {
  const told = cells.filter((cell) => Object.keys(cell.shares).length);
  const names = [...new Set(told.flatMap((cell) => Object.keys(cell.shares)))];
  return {
    label: t("run.importance_label", {cells: told.map((cell) => cell.cell).join(", ") || "–"}),
    traces: () => told.map((cell) => ({
      type: "bar", orientation: "h", name: plainText(cell.cell), y: names.map(settingName).map(plainText), x: names.map((name) => cell.shares[name] ?? null),
      marker: {color: colourOf(methodOf(cell.cell))}, hovertemplate: "%{y}: %{x:.0%}<extra>%{fullData.name}</extra>",
    })),
    layout: () => ({height: 140 + 60 * names.length, barmode: "group", xaxis: {tickformat: ".0%", range: [0, 1], title: {text: t("run.axis_importance")}}, yaxis: {autorange: "reversed", automargin: true}}),
    table: () => ({head: [t("run.cell"), t("run.setting"), t("run.share")], rows: told.flatMap((cell) => Object.entries(cell.shares).map(([name, share]) => [cell.cell, settingName(name), `${Math.round(100 * share)} %`]))}),
  };
}
