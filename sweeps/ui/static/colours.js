// The report's colours: one for each method, the same in every figure (reports/plots/style.py).
export const SERIES = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999933", "#aa4499",
  "#9170e0", "#a6761d", "#44aa99", "#e0607e",
];
export const KINDS = ["full", "freeze", "lora", "qlora"];
// Dark to light in both themes: a scale for numbers, of which the last is the best.
export const SCALE = ["#7a4f9e", "#5b62b0", "#3f7cba", "#2a93ab", "#2aa889", "#58b957", "#9fc131", "#e0b400"];

const rank = (kind) => (KINDS.includes(kind) ? KINDS.indexOf(kind) : KINDS.length);

/** Colours by method of rows: in the report's order, the untrained model grey. */
export function methodColours(rows) {
  const kinds = new Map();
  for (const row of rows) if (row.role !== "base" && row.method && !kinds.has(row.method)) kinds.set(row.method, row.kind);
  const order = [...kinds.keys()].sort((a, b) => rank(kinds.get(a)) - rank(kinds.get(b)) || (a < b ? -1 : 1));
  const colours = new Map(order.map((method, place) => [method, SERIES[place % SERIES.length]]));
  return (method) => colours.get(method) ?? "#8a929b";
}

/** The step of SCALE for a value between two ends. */
export function scaleStep(value, low, high) {
  if (!(high > low)) return SCALE.length - 1;
  return Math.min(SCALE.length - 1, Math.floor(((value - low) / (high - low)) * SCALE.length));
}
