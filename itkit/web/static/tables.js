// Tables of cases: what would happen, and what has happened.
import { address } from "./api.js";
import { fill, h, inWords } from "./dom.js";

const BAD = new Set(["failed", "crashed", "nonconforming", "unpaired"]);
const MOST = 3000;

/** A table whose head sorts it, and whose rows are set by key. */
function table(id, heads, draw) {
  const rows = new Map();
  const body = h("tbody");
  let order = null, filter = () => true, cut = 0;
  const note = h("p", { class: "muted" });
  const head = h("tr", {}, heads.map((title, at) => h("th", { scope: "col", class: title.number ? "n" : null },
    h("button", { type: "button", onclick: () => sort(at) }, title.name))));
  const cells = (row, data) => fill(row, draw(data));
  const sort = at => {
    const up = !(order && order.at === at && order.up);
    order = { at, up };
    [...head.cells].forEach((cell, own) => (own === at ? cell.setAttribute("aria-sort", up ? "ascending" : "descending") : cell.removeAttribute("aria-sort")));
    const key = heads[at].key;
    const sorted = [...rows.values()].sort((a, b) => {
      const [x, y] = [key(a.data), key(b.data)];
      const way = typeof x === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
      return up ? way : -way;
    });
    body.append(...sorted.filter(one => one.row).map(one => one.row));
  };
  return {
    element: h("div", {}, h("div", { class: "scroll tall" }, h("table", { id, class: "sorts stacks" }, h("thead", {}, head), body)), note),
    set(key, data) {
      let one = rows.get(key);
      if (!one) {
        one = { row: rows.size < MOST ? h("tr") : null, data };
        rows.set(key, one);
        if (one.row) body.append(one.row);
        else note.textContent = `${++cut} more cases are not listed here; all are in the manifest.`;
      }
      one.data = data;
      if (!one.row) return;
      cells(one.row, data);
      one.row.classList.toggle("bad", BAD.has(data.status));
      one.row.hidden = !filter(data);
    },
    filter(wanted) {
      filter = wanted;
      for (const { row, data } of rows.values()) if (row) row.hidden = !filter(data);
    },
    clear() { rows.clear(); fill(body); cut = 0; note.textContent = ""; },
    size: () => rows.size,
  };
}

function lines(texts) {
  return texts.filter(Boolean).map(text => h("div", {}, text));
}

export function caseTable(relative) {
  const view = data => {
    const after = data.outputs.map(relative).find(Boolean), before = data.inputs.map(relative).find(Boolean);
    if (!after && !before) return data.case;
    const query = after ? { path: after, before } : { path: before };
    return h("a", { href: address("#/view", query), "aria-label": `View ${data.case}`, title: "View" }, data.case);
  };
  const heads = [
    { name: "Case", key: data => data.case },
    { name: "Status", key: data => data.status },
    { name: "Message", key: data => data.message },
    { name: "Time", key: data => data.seconds ?? 0, number: true },
  ];
  const made = table("cases", heads, data => [
    h("td", {}, view(data)),
    h("td", {}, h("span", { class: `status ${data.status}` }, data.status)),
    h("td", {}, lines([data.message, ...(data.warnings ?? [])])),
    h("td", { class: "n" }, data.seconds ? (data.seconds < 10 ? `${data.seconds.toFixed(1)} s` : inWords(data.seconds)) : ""),
  ]);
  const rows = new Map();
  const put = data => { rows.set(data.case, data); made.set(data.case, data); };
  return {
    element: made.element,
    filter: made.filter,
    clear() { rows.clear(); made.clear(); },
    add(event) {
      if (event.event === "start") {
        for (const one of event.unpaired ?? []) put({ case: one.case, status: "unpaired", message: `has no ${one.lacks}`, inputs: [one.path], outputs: [] });
      }
      if (event.event === "begin") put({ case: event.case, status: "running", message: "", inputs: event.inputs ?? [], outputs: [] });
      if (event.event === "case") put({ warnings: [], ...event, inputs: event.inputs ?? [], outputs: event.outputs ?? [] });
      if (event.event === "summary") for (const data of rows.values()) if (data.status === "running") put({ ...data, status: "stopped" });
    },
  };
}

export function planTable() {
  const last = path => path.split("/").slice(-2).join("/");
  const heads = [
    { name: "Case", key: data => data.case },
    { name: "What would happen", key: data => data.status },
    { name: "Files", key: data => data.outputs.join() },
  ];
  const made = table("plan_table", heads, data => [
    h("td", {}, data.case),
    h("td", {}, h("span", { class: `status ${data.status}` }, data.status === "planned" ? "would be done" : data.status),
      lines([data.status === "planned" && data.outputs.length ? "" : data.message, ...(data.warnings ?? [])])),
    h("td", {}, lines([...data.inputs.map(last), ...data.outputs.map(path => `→ ${last(path)}`)])),
  ]);
  return {
    element: made.element,
    clear: made.clear,
    add(event) {
      if (event.event === "start") for (const one of event.unpaired ?? []) made.set(one.case, { case: one.case, status: "unpaired", message: `has no ${one.lacks}`, inputs: [one.path], outputs: [] });
      if (event.event === "case") made.set(event.case, { warnings: [], ...event, inputs: event.inputs ?? [], outputs: event.outputs ?? [] });
    },
  };
}
