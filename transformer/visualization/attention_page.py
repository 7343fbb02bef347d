"""What `transformer.visualization.attention_html` puts into its page: style and behaviour.

The colours are those of `transformer.visualization.html`, in light and in dark.
"""

STYLE = """
main { max-width: 76rem; }
.controls { display: flex; flex-wrap: wrap; gap: 0.8rem 1.5rem; align-items: end; margin: 1rem 0; }
.controls > label { flex: 1 1 18rem; min-width: 0; }
.controls span, legend { color: var(--muted); font-size: 0.875rem; }
select { display: block; width: 100%; font: inherit; color: var(--ink); background: var(--panel);
  border: 1px solid var(--rule); border-radius: 0.5rem; padding: 0.45rem 0.6rem; }
fieldset { border: 0; margin: 0; padding: 0; display: flex; flex: 0 0 auto; }
legend { padding: 0; }
fieldset label { cursor: pointer; }
fieldset input { position: absolute; opacity: 0; }
fieldset label span { display: block; padding: 0.45rem 0.9rem; background: var(--panel);
  font-size: 1rem; color: var(--ink); border: 1px solid var(--rule); margin-right: -1px; }
fieldset label:first-of-type span { border-radius: 0.5rem 0 0 0.5rem; }
fieldset label:last-of-type span { border-radius: 0 0.5rem 0.5rem 0; }
fieldset input:checked + span { background: var(--first); border-color: var(--first);
  color: var(--page); }
.panes { display: grid; grid-template-columns: minmax(0, auto) minmax(0, 1fr); gap: 0 3rem; }
.panes h2 { border: 0; padding: 0; margin: 1rem 0 0.4rem; font-size: 1rem; }
#heads { display: grid; gap: 4px; justify-content: start; align-items: center; overflow-x: auto;
  padding: 4px; font-size: 0.8rem; color: var(--muted); max-width: 30rem; }
#heads span { text-align: center; white-space: nowrap; }
#heads span.layer { text-align: right; padding-right: 0.3rem; }
#heads button { padding: 0; border: 2px solid transparent; border-radius: 6px; line-height: 0;
  background: var(--panel); cursor: pointer; overflow: hidden; }
#heads button:hover { border-color: var(--muted); }
#heads button[aria-pressed=true] { border-color: var(--second); }
canvas { width: 2.9rem; height: 2.9rem; image-rendering: pixelated; }
#summary { min-height: 3.1em; margin: 0.2rem 0 0.6rem; }
#view { display: grid; grid-template-columns: auto minmax(4rem, 14rem) auto;
  justify-content: start; gap: 0.3rem 0; }
#view > span { color: var(--muted); font-size: 0.875rem; padding: 0 0.55rem; }
#looks { text-align: right; }
#arrow { text-align: center; }
.column { display: grid; align-content: start; }
.column button { display: flex; gap: 0.6rem; align-items: center; justify-content: space-between;
  height: 2rem; padding: 0 0.55rem; border: 0; border-radius: 0.35rem; font: inherit;
  color: var(--ink); background: transparent; cursor: pointer; white-space: pre; }
#left button { flex-direction: row-reverse; }
.column output { color: var(--muted); font-size: 0.8rem; min-width: 2.9rem; text-align: left;
  font-variant-numeric: tabular-nums; }
#right output { text-align: right; }
.column button { background: color-mix(in srgb, var(--first) calc(var(--weight, 0) * 55%),
  transparent); }
.column output.faint { opacity: 0.75; }
.column output.strong { color: var(--ink); }
.column button.chosen { outline: 2px solid var(--second); outline-offset: -2px; }
button:focus-visible, select:focus-visible, input:focus-visible + span {
  outline: 2px solid var(--second); outline-offset: 2px; }
line { stroke: var(--first); vector-effect: non-scaling-stroke; stroke-linecap: round; }
@media (max-width: 60rem) {
  .panes { grid-template-columns: minmax(0, 1fr); }
  #heads { max-width: 100%; }
}
@media (max-width: 30rem) {
  #view > span { padding: 0 0.3rem; }
  .column button { padding: 0 0.3rem; gap: 0.3rem; font-size: 0.9rem; }
  .column output { min-width: 2.5rem; }
  fieldset { flex: 1 1 100%; flex-wrap: wrap; }
  #view { grid-template-columns: auto minmax(2.5rem, 1fr) auto; }
}
"""

SCRIPT = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const make = (parent, tag, properties = {}) => {
  const made = document.createElement(tag);
  parent.append(Object.assign(made, properties));
  return made;
};
// What is chosen; head -1 is the mean of all. A token is {side: "left" or "right", place}.
const state = { sentence: 0, kind: "cross", layer: 0, head: -1, token: null, pinned: null };

const unpacked = new Map();
function weightsOf(sentence, kind) {
  const attention = data.sentences[sentence].attention[kind];
  if (!unpacked.has(attention)) {
    const bytes = atob(attention.weights);
    unpacked.set(attention, Float32Array.from(bytes, (c) => c.charCodeAt(0) / data.steps));
  }
  return unpacked.get(attention);
}

// The weights of a layer's head as rows of queries.
function matrix(layer, head) {
  const { heads, attention } = data.sentences[state.sentence];
  const [queries, keys] = attention[state.kind].tokens.map((side) => side.length);
  const all = weightsOf(state.sentence, state.kind);
  const own = head < 0 ? [...Array(heads).keys()] : [head];
  return Array.from({ length: queries }, (_, query) =>
    Array.from({ length: keys }, (_, key) =>
      own.reduce((sum, h) => sum + all[((layer * heads + h) * queries + query) * keys + key], 0)
        / own.length));
}

const nameOf = (head) => (head < 0 ? "mean of all heads" : `head ${head + 1}`);
const percent = (weight) => `${Math.round(100 * weight)}\\u202f%`;

function drawHeads() {
  const { layers, heads } = data.sentences[state.sentence];
  const root = byId("heads");
  const scroll = root.scrollLeft;
  root.replaceChildren();
  root.style.gridTemplateColumns = `repeat(${heads + 2}, auto)`;
  make(root, "span");
  make(root, "span", { textContent: "mean" });
  for (let head = 0; head < heads; head++) make(root, "span", { textContent: `${head + 1}` });
  const colour = getComputedStyle(document.body).getPropertyValue("--first");
  for (let layer = 0; layer < layers; layer++) {
    make(root, "span", { className: "layer", textContent: `layer ${layer + 1}` });
    for (let head = -1; head < heads; head++) {
      const button = make(root, "button", { type: "button" });
      button.setAttribute("aria-label", `layer ${layer + 1}, ${nameOf(head)}`);
      button.dataset.layer = layer;
      button.dataset.head = head;
      button.onclick = () => { Object.assign(state, { layer, head }); drawView(); };
      const rows = matrix(layer, head);
      const canvas = make(button, "canvas", { width: rows[0].length, height: rows.length });
      const context = canvas.getContext("2d");
      context.fillStyle = colour;
      rows.forEach((row, y) => row.forEach((weight, x) => {
        context.globalAlpha = weight;
        context.fillRect(x, y, 1, 1);
      }));
    }
  }
  root.scrollLeft = scroll;
}

function drawView() {
  const [name, looks, seen] = data.kinds[state.kind];
  byId("chosen").textContent = `${name}, layer ${state.layer + 1}, ${nameOf(state.head)}`;
  byId("looks").textContent = looks;
  byId("seen").textContent = seen;
  for (const button of byId("heads").querySelectorAll("button")) {
    const own = +button.dataset.layer === state.layer && +button.dataset.head === state.head;
    button.setAttribute("aria-pressed", own);
  }
  const tokens = data.sentences[state.sentence].attention[state.kind].tokens;
  ["left", "right"].forEach((side, n) => {
    const column = byId(side);
    column.replaceChildren();
    column.setAttribute("aria-label", n ? `attended: ${seen}s` : `${looks}s`);
    tokens[n].forEach((text, place) => {
      const button = make(column, "button", { type: "button" });
      make(button, "bdi", { textContent: text });
      make(button, "output");
      const token = { side, place };
      button.onmouseenter = button.onfocus = () => point(token);
      button.onclick = () => {
        state.pinned = same(state.pinned, token) ? null : token;
        point(state.pinned);
      };
      button.onkeydown = (event) => move(event, token);
    });
  });
  point(state.token);
}

const same = (a, b) => a && b && a.side === b.side && a.place === b.place;

function move(event, { side, place }) {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  const other = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
  if (event.key === "Escape") { state.pinned = null; point(null); }
  if (!step && !other) return;
  event.preventDefault();
  const buttons = byId(other || side).children;
  buttons[Math.max(0, Math.min(buttons.length - 1, place + (step || 0)))].focus();
}

// Shows the weights of one token, or without one all lines.
function point(token) {
  const rows = matrix(state.layer, state.head);
  const places = { left: rows.length, right: rows[0].length };
  if (token && token.place >= places[token.side]) token = state.pinned = null;
  state.token = token;
  const weight = (side, place) => {
    if (!token || token.side === side) return null;
    return side === "right" ? rows[token.place][place] : rows[place][token.place];
  };
  for (const side of ["left", "right"]) {
    [...byId(side).children].forEach((button, place) => {
      const chosen = same(token, { side, place });
      const own = weight(side, place);
      button.classList.toggle("chosen", chosen);
      button.lastChild.className = own >= 0.1 ? "strong" : own < 0.005 ? "faint" : "";
      button.setAttribute("aria-pressed", chosen);
      button.tabIndex = chosen || (place === 0 && (!token || token.side !== side)) ? 0 : -1;
      button.style.setProperty("--weight", own ?? 0);
      button.lastChild.textContent = own === null ? "" : percent(own);
    });
  }
  drawLines(rows, token, Math.max(places.left, places.right));
  byId("summary").textContent = summary(rows, token);
}

function drawLines(rows, token, height) {
  const svg = byId("lines");
  svg.setAttribute("viewBox", `0 0 100 ${height}`);
  svg.style.height = `${2 * height}rem`;
  svg.replaceChildren();
  rows.forEach((row, query) => row.forEach((weight, key) => {
    const own = token && token.place === (token.side === "left" ? query : key);
    if (weight < 0.01 || (token && !own)) return;
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const ends = { x1: 1, y1: query + 0.5, x2: 99, y2: key + 0.5 };
    for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
    line.style.opacity = weight * (token ? 1 : 0.8);
    line.style.strokeWidth = 0.5 + 4 * weight;
    svg.append(line);
  }));
}

function summary(rows, token) {
  if (!token) return "Nothing is chosen: all lines are shown.";
  const [queries, keys] = data.sentences[state.sentence].attention[state.kind].tokens;
  const left = token.side === "left";
  const [own, others] = left ? [queries, keys] : [keys, queries];
  const weights = others.map((text, place) =>
    [left ? rows[token.place][place] : rows[place][token.place], text]);
  const most = weights.filter(([weight]) => weight >= 0.05).sort((a, b) => b[0] - a[0]).slice(0, 4);
  const list = most.map(([weight, text]) => `“${text}” ${percent(weight)}`).join(", ");
  return left
    ? `“${own[token.place]}” attends to ${list || "nothing by more than 5 %"}.`
    : `“${own[token.place]}” is attended by ${list || "nothing with more than 5 %"}.`;
}

function drawAll() {
  drawHeads();
  drawView();
}

data.sentences.forEach(({ text }, n) =>
  make(byId("sentence"), "option", { value: n, textContent: `${n + 1}. ${text}` }));
byId("sentence").onchange = (event) => {
  Object.assign(state, { sentence: +event.target.value, token: null, pinned: null });
  drawAll();
};
for (const radio of document.querySelectorAll("input[name=kind]")) {
  radio.checked = radio.value === state.kind;
  radio.onchange = () => {
    Object.assign(state, { kind: radio.value, token: null, pinned: null });
    drawAll();
  };
}
byId("view").onmouseleave = () => point(state.pinned);
matchMedia("(prefers-color-scheme: dark)").onchange = drawAll;
if (data.sentences.length) {
  state.layer = data.sentences[0].layers - 1;
  drawAll();
} else {
  byId("summary").textContent = "There is no sentence to show.";
}
"""
