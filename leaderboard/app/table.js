// One table for the app and for the site: it sorts, searches, shades tiers, draws intervals and chooses rows.
// Text from records is only ever set as text. What a person chose (sort, search, ticks) lives with the element.
const kept = new WeakMap();

const make = (tag, className = "", text = undefined) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

const svg = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

// What a column is sorted by; null where nothing was measured, which is last in either direction.
const order = (row, column) => {
  const value = row[column.key];
  if (value === null || value === undefined) return null;
  return column.kind === "interval" ? value.score : value;
};

const sorted = (rows, column, descending) =>
  column === undefined
    ? rows
    : [...rows].sort((a, b) => {
        const [x, y] = [order(a, column), order(b, column)];
        if (x === null || y === null) return (x === null) - (y === null);
        const sign = typeof x === "string" ? x.localeCompare(y) : x - y;
        return descending ? -sign : sign;
      });

const bestFirst = (column) => column.better === "higher";

const shown = (value, column) => {
  if (value === null || value === undefined) return "–";
  if (column.kind === "share") return `${Math.round(100 * value)} %`;
  if (typeof value === "number") return signless(value.toFixed(column.digits ?? 2)) + (column.suffix ?? "");
  return String(value);
};

// What rounds to zero has no sign.
const signless = (text) => (/[1-9]/.test(text) ? text : text.replace("-", ""));

const interval = (value, column) => {
  const cell = make("td", "interval");
  if (!value) return cell.append("–"), cell;
  const [low, high] = column.range, width = 96, place = (x) => (width * (Math.min(Math.max(x, low), high) - low)) / (high - low || 1);
  const ends = typeof value.low === "number" && typeof value.high === "number";
  const text = value.score.toFixed(2) + (ends ? `, 95 % interval ${value.low.toFixed(2)} to ${value.high.toFixed(2)}` : "");
  const picture = svg("svg", { width, height: 14, viewBox: `0 0 ${width} 14`, role: "img", "aria-label": text });
  picture.append(svg("line", { x1: 0, x2: width, y1: 7, y2: 7, class: "axis" }));
  if (ends)
    picture.append(svg("rect", { x: place(value.low), y: 4, height: 6, rx: 2,
      width: Math.max(2, place(value.high) - place(value.low)), class: "range" }));
  picture.append(svg("circle", { cx: place(value.score), cy: 7, r: 3.5, class: value.hollow ? "hollow" : "dot" }));
  cell.title = text;
  cell.append(make("span", "figure", signless(value.score.toFixed(2)) + (value.hollow ? "*" : "")), picture);
  return cell;
};

export default function show({ data, parentElement, setTriggerValue, setStateValue }) {
  const root = parentElement.querySelector(".pebench-table");
  const state = kept.get(root) ?? { ticked: new Set() };
  if (state.turn !== data.turn || state.sort === undefined)
    Object.assign(state, { turn: data.turn, sort: data.sort, descending: data.descending, search: data.search ?? "" });
  kept.set(root, state);
  const known = new Set(data.rows.map((row) => row.name));
  for (const name of state.ticked) if (!known.has(name)) state.ticked.delete(name);
  const tell = () => data.plain || setStateValue?.("view", { sort: state.sort, descending: state.descending, search: state.search });
  const open = (event, row) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (setTriggerValue) {
      event.preventDefault();
      setTriggerValue("open", row.name);
    } else window.location.href = row.href;
  };

  const bar = make("div", "bar");
  const search = make("input");
  Object.assign(search, { type: "search", value: state.search, placeholder: "Search", ariaLabel: "Search the table" });
  const compare = make("button", "compare", "Compare");
  compare.type = "button";
  const count = make("span", "count");
  count.setAttribute("role", "status");
  if (!data.plain || data.rows.length > 8) bar.append(search);
  bar.append(...(data.ticks ? [compare] : []), count);

  // On a phone: a table of few columns stays one, many rows of numbers scroll beside their names, all else becomes cards.
  const few = data.columns.filter((column) => !column.wide).length < 5;
  const grid = data.rows.length > 12 && data.columns.slice(1).every((column) => column.kind === "number");
  const table = make("table", data.plain ? `plain ${few ? "" : grid ? "grid" : "cards"}` : ""), head = make("thead"), line = make("tr");
  if (data.ticks) line.append(make("th", "tick"));
  for (const column of data.columns) {
    const cell = make("th", `${column.kind} ${column.wide ? "wide" : ""}`), button = make("button", "", column.title);
    cell.scope = "col";
    button.type = "button";
    button.title = column.help ?? "";
    button.onclick = () => {
      state.descending = state.sort === column.key ? !state.descending : bestFirst(column);
      state.sort = column.key;
      fill();
      tell();
    };
    cell.append(button);
    line.append(cell);
  }
  head.append(line);
  table.append(head);

  const fill = () => {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    const found = data.rows.filter((row) => words.every((word) => row.search.includes(word)));
    const column = data.columns.find((one) => one.key === state.sort);
    [...head.querySelectorAll("th[scope]")].forEach((cell, n) => {
      const here = data.columns[n].key === state.sort;
      cell.ariaSort = here ? (state.descending ? "descending" : "ascending") : "none";
    });
    table.querySelectorAll("tbody").forEach((body) => body.remove());
    for (const group of data.groups) {
      const rows = sorted(found.filter((row) => row.group === group.key), column, state.descending);
      if (!rows.length) continue;
      const body = make("tbody");
      if (group.title) {
        const label = make("td", "group", group.title), heading = make("tr");
        label.colSpan = data.columns.length + (data.ticks ? 1 : 0);
        heading.append(label);
        body.append(heading);
      }
      for (const row of rows) body.append(drawn(row));
      table.append(body);
    }
    count.textContent = found.length === data.rows.length ? "" : `${found.length} of ${data.rows.length}`;
    if (!found.length) count.textContent = "Nothing passes this search.";
    ticks();
  };

  const drawn = (row) => {
    const line = make("tr", `${row.shade ? "shade" : ""} ${row.own ? "own" : ""}`);
    if (!data.plain) {
      line.dataset.name = row.name;
      line.onclick = (event) => open(event, row);
    }
    if (data.ticks) {
      const cell = make("td", "tick"), tick = make("input");
      Object.assign(tick, { type: "checkbox", checked: state.ticked.has(row.name), ariaLabel: `Compare ${row.name}` });
      tick.onclick = (event) => event.stopPropagation();
      tick.onchange = () => {
        tick.checked ? state.ticked.add(row.name) : state.ticked.delete(row.name);
        ticks();
      };
      cell.append(tick);
      line.append(cell);
    }
    for (const column of data.columns) {
      if (column.kind === "interval") {
        line.append(interval(row[column.key], column));
        continue;
      }
      const cell = make("td", `${column.kind} ${column.wide ? "wide" : ""}`);
      if (column.kind === "name") {
        const link = make("a", "", row.name);
        link.href = row.href;
        link.onclick = (event) => (event.stopPropagation(), open(event, row));
        cell.append(link);
        if (row.own) cell.append(make("span", "mine", "yours"));
        cell.append(make("span", "title", row.title));
        cell.title = row.title;
      } else cell.textContent = row[`${column.key}-text`] ?? shown(row[column.key], column);
      if (row[`${column.key}-ends`]) cell.append(make("span", "ends", row[`${column.key}-ends`]));
      if (data.plain) cell.dataset.label = column.title;
      line.append(cell);
    }
    return line;
  };

  const ticks = () => {
    const names = data.rows.map((row) => row.name).filter((name) => state.ticked.has(name));
    compare.disabled = names.length < 2;
    compare.textContent = names.length < 2 ? "Tick two to compare" : `Compare ${names.join(", ")}`;
    compare.onclick = () =>
      setTriggerValue ? setTriggerValue("compare", names) : (window.location.href = data.compare + names.map(encodeURIComponent).join("&"));
  };

  let waiting;
  search.oninput = () => {
    state.search = search.value;
    fill();
    clearTimeout(waiting);
    waiting = setTimeout(tell, 400);
  };
  const typing = root.getRootNode().activeElement?.type === "search";
  root.classList.toggle("tall", Boolean(data.tall));
  root.replaceChildren(bar, table);
  fill();
  if (typing) {
    search.focus();
    search.setSelectionRange(search.value.length, search.value.length);
  }
  return () => clearTimeout(waiting);
}
