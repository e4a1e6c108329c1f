"use strict";
// What a page can do beyond being read: marks of figures say what they show, tables sort and filter, cells can be
// hidden. Texts from data are set as text only.
(() => {
  const REACH = 20; // pixels from a point within which it is pointed at
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const isShown = (element) => element.getClientRects().length > 0;

  // Figures

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true"); // a screen reader reads the mark's own label
  document.body.append(tip);
  let pointed = null;

  function leave() {
    if (pointed) pointed.classList.remove("pointed");
    pointed = null;
    tip.hidden = true;
  }

  function point(mark, x, y) {
    if (mark === pointed) return;
    leave();
    pointed = mark;
    mark.classList.add("pointed");
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const own = tip.getBoundingClientRect();
    const left = Math.max(8, Math.min(x - own.width / 2, document.documentElement.clientWidth - own.width - 8));
    const top = y - own.height - 14 > 0 ? y - own.height - 14 : y + 18;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${top + window.scrollY}px`;
  }

  function centre(mark) {
    const box = mark.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  }

  function nearest(marks, x, y) {
    let found = null, least = REACH;
    for (const mark of marks) {
      const box = mark.getBoundingClientRect();
      if (Math.max(box.width, box.height) > 2 * REACH || !isShown(mark)) continue;
      const [left, top] = centre(mark);
      const distance = Math.hypot(left - x, top - y);
      if (distance < least) [found, least] = [mark, distance];
    }
    return found;
  }

  // A thin line is hard to point at: an invisible, wide one lies over it.
  function widen(mark) {
    for (const path of all(":scope > path[clip-path]", mark)) {
      const wide = path.cloneNode();
      wide.setAttribute("class", "wide");
      wide.removeAttribute("style");
      mark.append(wide);
    }
  }

  function explore(svg) {
    const marks = all(".mark", svg).filter((mark) => mark.querySelector(":scope > title"));
    if (!marks.length) return;
    svg.setAttribute("role", "group");
    for (const mark of marks) {
      const title = mark.querySelector(":scope > title");
      mark.setAttribute("role", "img");
      mark.setAttribute("aria-label", title.textContent);
      title.remove(); // the browser would show it, too
      widen(mark);
    }
    // One stop of the tab key for each figure; the arrow keys go from mark to mark.
    const stopAt = (stop) => marks.forEach((mark) => mark.setAttribute("tabindex", mark === stop ? "0" : "-1"));
    stopAt(marks[0]);
    svg.addEventListener("focusin", (event) => {
      stopAt(event.target);
      point(event.target, ...centre(event.target));
    });
    svg.addEventListener("focusout", leave);
    svg.addEventListener("keydown", (event) => {
      const shown = marks.filter(isShown).sort((one, other) => {
        const [a, b] = [centre(one), centre(other)];
        return a[0] - b[0] || a[1] - b[1];
      });
      const at = shown.indexOf(document.activeElement);
      const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: -1 };
      if (event.key === "Escape") leave();
      if (!(event.key in next) || !shown.length) return;
      event.preventDefault();
      shown.at(next[event.key] % shown.length).focus();
    });
    const follow = (event) => {
      const under = event.target.closest(".mark[role]");
      const small = nearest(marks, event.clientX, event.clientY);
      const mark = small ?? under;
      if (mark) point(mark, event.clientX, event.clientY);
      else leave();
    };
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") leave(); });
  }

  // Tables

  const UNITS = { h: 3600, min: 60, s: 1, GiB: 1024, MiB: 1 };

  // "7 min 12 s" is 432; of "98.4 % (94.5 to 99.6)" the first number counts; what holds none is NaN.
  function amount(text) {
    const parts = text.matchAll(/(-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*(h|min|s|GiB|MiB)?(?![\w.])/g);
    let sum = NaN;
    for (const [, digits, unit] of parts) {
      const value = Number(digits.replaceAll(",", "")) * (unit ? UNITS[unit] : 1);
      sum = Number.isNaN(sum) ? value : sum + value;
      if (unit !== "h" && unit !== "min") break;
    }
    return sum;
  }

  function compare(one, other, column, isNumber) {
    const [a, b] = [one, other].map((row) => row.cells[column].textContent.trim());
    if (!isNumber) return a.localeCompare(b, undefined, { numeric: true });
    const [x, y] = [amount(a), amount(b)];
    return x - y;
  }

  function order(rows, column, isNumber, descending) {
    const known = rows.filter((row) => !isNumber || !Number.isNaN(amount(row.cells[column].textContent)));
    const unknown = rows.filter((row) => !known.includes(row)); // last, in either order
    known.sort((one, other) => (descending ? -1 : 1) * compare(one, other, column, isNumber));
    return [...known, ...unknown];
  }

  function sortable(table) {
    const heads = all("thead th", table), body = table.tBodies[0], rows = [...body.rows];
    if (rows.length < 2) return;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
        const wanted = next === undefined ? "ascending" : next; // the third click gives the order of the report
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        if (wanted) head.setAttribute("aria-sort", wanted);
        const isNumber = head.classList.contains("number");
        body.append(...(wanted ? order(rows, column, isNumber, wanted === "descending") : rows));
      });
    });
  }

  function filterable(form) {
    const rows = [...form.nextElementSibling.querySelector("tbody").rows];
    const input = form.querySelector("input"), count = form.querySelector("output");
    form.hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const matches = (row) => words.every((word) => row.textContent.toLowerCase().includes(word));
      rows.forEach((row) => row.classList.toggle("unmatched", !matches(row)));
      count.textContent = words.length ? `${rows.filter(matches).length} of ${rows.length} rows` : "";
    });
  }

  // Cells

  function hideable(form) {
    const boxes = all("input", form);
    form.hidden = false;
    form.addEventListener("change", () => {
      const hidden = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
      leave();
      for (const each of all("[data-cells]")) {
        const cells = each.dataset.cells.split(" ");
        // A row about two cells goes with either of them, a mark of several trials with all of them.
        const off = each.matches("tr") ? cells.some((cell) => hidden.has(cell)) : cells.every((cell) => hidden.has(cell));
        each.classList.toggle("off", off);
      }
      form.querySelector("output").textContent = hidden.size ? `${hidden.size} hidden` : "";
    });
    form.addEventListener("reset", () => setTimeout(() => form.dispatchEvent(new Event("change"))));
  }

  all("figure svg").forEach(explore);
  all("table.sortable").forEach(sortable);
  all(".filter").forEach(filterable);
  all(".cells").forEach(hideable);
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest("figure svg")) leave(); });
  // What is folded is printed, too.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    leave();
    folded = all("details:not([open])");
    folded.forEach((each) => { each.open = true; });
  });
  window.addEventListener("afterprint", () => folded.forEach((each) => { each.open = false; }));
})();
