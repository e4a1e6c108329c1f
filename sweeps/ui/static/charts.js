// A thin layer over Plotly: the page's colours, texts as texts, a table for those who can't see the figure.
import {el} from "./dom.js";
import {href} from "./api.js";
import {t} from "./words.js";

const STILL_MS = 300; // without scrolling before a figure is drawn: Plotly holds up the page meanwhile
const NEAR = "100px"; // of the window: figures farther off are not drawn
let loading = null;
let queue = Promise.resolve();
let scrolled = -STILL_MS;
const drawn = new Set(); // figures that are on the page, drawn anew where the theme changes
addEventListener("scroll", () => { scrolled = performance.now(); }, {capture: true, passive: true});

/** Plotly's script, loaded once and only after the page has been painted. */
function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const load = () => {
      const script = el("script", {src: href("/static/plotly.min.js"), onload: () => resolve(window.Plotly), onerror: reject});
      document.head.append(script);
    };
    requestAnimationFrame(() => setTimeout(load, 0));
  });
  return loading;
}

/** Colours by the page's style sheet, light or dark. */
export function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return {ink: colour("--ink"), muted: colour("--muted"), rule: colour("--rule"), paper: colour("--paper"), raised: colour("--raised"), accent: colour("--accent")};
}

function layout(given, colours) {
  const axis = {
    color: colours.ink, gridcolor: colours.rule, linecolor: colours.muted, zeroline: false,
    tickfont: {size: 12}, title: {font: {size: 13}, standoff: 8}, fixedrange: false,
  };
  const axes = {};
  for (const [name, value] of Object.entries({xaxis: {}, yaxis: {}, ...given})) {
    if (/^[xy]axis\d*$/.test(name)) axes[name] = {...axis, ...value, title: {...axis.title, ...(value.title ?? {})}};
  }
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: {color: colours.ink, family: getComputedStyle(document.body).fontFamily, size: 13},
    // Margins by what is in them (`automargin`) would have Plotly draw each figure a second time.
    margin: {l: 64, r: 12, t: 40, b: 52}, hovermode: "closest", dragmode: false,
    hoverlabel: {bgcolor: colours.raised, bordercolor: colours.rule, font: {color: colours.ink, size: 12}, align: "left"},
    legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: {size: 12}, itemsizing: "constant"},
    ...given, ...axes,
  };
}

const CONFIG = {
  displaylogo: false, responsive: true, scrollZoom: false,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"], toImageButtonOptions: {format: "svg"},
};

/** One figure after the other, each where the browser has nothing else to do and nothing is scrolled. */
function turn() {
  const idle = () => new Promise((resolve) => (window.requestIdleCallback ?? setTimeout)(resolve));
  return (queue = queue.then(async () => {
    for (let left; (left = scrolled + STILL_MS - performance.now()) > 0;) await new Promise((resolve) => setTimeout(resolve, left));
    await idle();
  }));
}

/** Texts of others in Plotly's labels: it would read some elements of HTML in them. */
export const plainText = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** A figure in `element`. It is drawn by `draw({label, traces, layout, table, click})`, again and again. */
export class Figure {
  constructor(element) {
    this.plot = el("div", {class: "plot", role: "img"});
    this.empty = el("p", {class: "facts", hidden: true}, t("run.nothing_to_draw"));
    this.table = el("div", {class: "scroll"});
    this.details = el("details", {class: "alternative"}, el("summary", {}, t("run.as_table")), this.table);
    this.details.addEventListener("toggle", () => this.#fillTable());
    element.replaceChildren(this.empty, this.plot, this.details);
    this.near = false;
    new IntersectionObserver((entries) => {
      this.near = entries.at(-1).isIntersecting;
      this.#drawLast();
    }, {rootMargin: NEAR}).observe(element);
    this.last = this.shown = null;
    this.drawing = false;
    drawn.add(this);
  }

  /** Shows `what` once the figure is in sight and nothing is scrolled; of several, the last. */
  draw(what) {
    const made = what ? what.traces(theme()) : [];
    this.last = {...what, made};
    const nothing = made.length === 0;
    this.empty.hidden = !nothing;
    this.plot.hidden = this.details.hidden = nothing;
    if (nothing) return;
    this.plot.setAttribute("aria-label", what.label);
    this.#fillTable();
    this.#drawLast();
  }

  async #drawLast() {
    if (this.drawing || !this.near || this.last === this.shown || this.plot.hidden) return;
    this.drawing = true;
    try {
      await turn(); // the script alone takes the browser half a second
      const library = await plotly();
      await turn();
      if (this.near && !this.plot.hidden) await this.#react(library, (this.shown = this.last));
    } finally {
      this.drawing = false;
    }
    this.#drawLast(); // a newer one may have come
  }

  async #react(library, what) {
    const colours = theme(), began = performance.now();
    await library.react(this.plot, what.made, layout(what.layout(colours), colours), CONFIG);
    performance.measure(`figure ${this.plot.parentElement.id}`, {start: began, end: performance.now()});
    if (!this.listening) {
      this.listening = true;
      this.plot.on("plotly_click", (event) => {
        const target = event.points[0]?.customdata;
        if (target) this.last.click?.(target);
      });
    }
  }

  redraw() {
    if (this.last) this.draw({...this.last});
  }

  /** The values as a table, made only where it is opened. */
  #fillTable() {
    if (!this.details.open || !this.last) return;
    const {head, rows} = this.last.table();
    this.table.replaceChildren(el("table", {class: "table"},
      el("caption", {class: "visually-hidden"}, this.last.label),
      el("thead", {}, el("tr", {}, ...head.map((text) => el("th", {scope: "col"}, text)))),
      el("tbody", {}, ...rows.slice(0, 500).map((row) => el("tr", {}, ...row.map((text) => el("td", {}, String(text))))))));
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const figure of drawn) figure.redraw();
});
