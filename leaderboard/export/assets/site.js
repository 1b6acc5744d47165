// Fills the pages of the site: tables by table.js, figures by plotly. Everything lies beside this file.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;

// How a ranking is sorted and searched stands behind the # of the address.
function tables() {
  for (const place of document.querySelectorAll("[data-table]")) {
    const data = read(place.dataset.table), asked = new URLSearchParams(location.hash.slice(1));
    const keys = data.columns.map((column) => column.key);
    if (data.ticks && keys.includes(asked.get("sort")))
      Object.assign(data, { sort: asked.get("sort"), descending: asked.get("order") !== "ascending" });
    if (data.ticks) data.search = asked.get("search") ?? "";
    const setStateValue = (_, { sort, descending, search }) => {
      const view = new URLSearchParams({ sort, order: descending ? "descending" : "ascending", search });
      history.replaceState(null, "", `#${view}`);
    };
    window.pebenchTable({ data, parentElement: place, setStateValue });
  }
}

function figures() {
  const small = matchMedia("(max-width: 640px)").matches;
  for (const place of document.querySelectorAll("[data-figure]")) {
    const { data, layout } = read(place.dataset.figure);
    const font = { ...(layout.font ?? {}), color: dark() ? "#f2f3f7" : "#1a1c22" };
    const grid = dark() ? "#3a3d46" : "#e3e5ea";
    for (const axis of ["xaxis", "yaxis"]) layout[axis] = { gridcolor: grid, zerolinecolor: grid, ...layout[axis] };
    Plotly.react(place, data, { ...layout, font, width: undefined }, { displaylogo: false, responsive: true, displayModeBar: small ? false : "hover" });
  }
}

// The page that compares two encodings; which two stands behind the # of the address.
function compare() {
  const place = document.getElementById("compare");
  if (!place) return;
  const { names, tasks, pairs, verdicts } = read("pairs");
  const [first, second] = place.querySelectorAll("select");
  for (const select of [first, second]) for (const name of names) select.add(new Option(name, name));
  const asked = decodeURIComponent(location.hash.slice(1)).split("&").filter(Boolean);
  const absent = asked.filter((name) => !names.includes(name));
  place.querySelector(".absent").textContent = absent.length ? `There is no encoding ${absent.join(", ")} on this board.` : "";
  if (absent.length) return;
  [first.value, second.value] = [asked[0] ?? names[0], asked[1] ?? names.find((name) => name !== (asked[0] ?? names[0]))];
  const show = () => {
    const [a, b] = [names.indexOf(first.value), names.indexOf(second.value)];
    const pair = a < b ? `${a} ${b}` : `${b} ${a}`, found = pairs[pair] ?? [], sign = a < b ? 1 : -1;
    const turned = (x) => (x === null ? null : sign * x);
    const sentences = (verdicts[pair] ?? []).map((text) => Object.assign(document.createElement("li"), { textContent: text }));
    place.querySelector(".verdict").replaceChildren(...sentences);
    const rows = found.map(([task, difference, low, high, p, seeds]) => ({
      name: tasks[task], title: "", search: tasks[task], href: "#", group: "", p, seeds,
      "p-text": p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3),
      difference: difference === null ? null : { score: turned(difference), low: turned(sign > 0 ? low : high), high: turned(sign > 0 ? high : low) },
    }));
    const table = place.querySelector("[data-pairs]");
    table.replaceChildren(Object.assign(document.createElement("div"), { className: "pebench-table" }));
    window.pebenchTable({ parentElement: table, data: {
      columns: [
        { key: "name", title: "task", kind: "text" },
        { key: "difference", title: `${first.value} minus ${second.value}`, kind: "interval", better: "higher", range: [-1, 1] },
        { key: "p", title: "p", kind: "number", digits: 3, better: "lower" },
        { key: "seeds", title: "seeds", kind: "number", digits: 0, better: "higher" },
      ], rows, groups: [{ key: "", title: "" }], sort: "", descending: true, search: "", ticks: false, plain: true } });
    history.replaceState(null, "", `#${encodeURIComponent(first.value)}&${encodeURIComponent(second.value)}`);
  };
  first.onchange = second.onchange = show;
  show();
}

tables();
figures();
compare();
window.pebenchLink({ parentElement: document.querySelector(".link") });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", figures);
addEventListener("hashchange", () => location.reload());
