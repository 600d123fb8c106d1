// The guided start: what somebody has, the commands that make a clean dataset of it, and their run as a chain.
import { get, post } from "./api.js";
import { pick } from "./browser.js";
import { fill, h, later, save, tell } from "./dom.js";

export async function startPage(key, query) {
  const { starts, converters } = await get("/api/starts");
  const start = starts.find(one => one.key === key) ?? starts[0];
  const problem = h("p", { class: "problem", role: "alert" });
  let typed = {};
  try { typed = JSON.parse(sessionStorage.getItem("itkit.start")) ?? {}; } catch { /* none */ }
  const list = h("ol", { class: "chain", id: "chain" });
  const path = (id, label, writes, value, file = false) => {
    const input = h("input", { type: "text", id, value, autocomplete: "off", spellcheck: "false", placeholder: writes ? "new or existing, below the root" : "below the root", oninput: () => soon() });
    const browse = h("button", { type: "button", "aria-label": `${label}: browse`, onclick: async () => {
      const found = await pick({ file, writes, start: file ? "" : input.value });
      if (found === null) return;
      input.value = found;
      soon();
    } }, "Browse …");
    return { input, row: h("div", { class: "field" }, h("label", { for: id }, label), h("div", { class: "picker" }, input, browse)) };
  };
  const given = query.get("source") ?? (start.is_saved ? "" : typed.source) ?? "";
  const source = path("start-source", start.is_saved ? "File" : "It is in", false, given, start.is_saved), work = path("start-work", "Results go to", true, typed.work ?? "");
  const which = h("select", { id: "start-converter", onchange: () => soon() }, converters.map(one => h("option", { value: one.name }, one.title)));
  work.row.hidden = start.is_saved;
  const whichRow = h("div", { class: "field", hidden: !start.asks_converter }, h("label", { for: "start-converter" }, "Dataset"), h("div", {}, which));
  const button = (id, text, act, look = null) => h("button", { type: "button", id, class: look, disabled: true, onclick: act }, text);
  const asked = () => ({ source: source.input.value.trim(), work: start.is_saved ? "" : work.input.value.trim(), converter: start.asks_converter ? which.value : "" });
  let pipeline = "", number = 0, steps = [];
  const runButton = button("run-chain", "Run these steps", async () => {
    runButton.disabled = true;
    try {
      await post(`/api/starts/${start.key}/run`, asked());
      location.hash = "#/jobs";
    } catch (error) { problem.textContent = error.message; runButton.disabled = false; }
  }, "first");
  const saveButton = button("save-pipeline", "Save as a pipeline", () => {
    save("pipeline.toml", new Blob([pipeline], { type: "application/toml" }));
    tell("Saved. On the server’s machine, itkit run pipeline.toml repeats it.");
  });
  const scriptButton = button("save-script", "Save as a script", () =>
    save("pipeline.sh", new Blob([["set -e", ...steps.map(one => one.command), ""].join("\n")], { type: "text/plain" })));
  const open = one => {
    try { sessionStorage.setItem(`itkit.values.${one.operation}`, JSON.stringify({ params: one.params, options: one.options })); } catch { /* full */ }
    location.hash = `#/op/${encodeURIComponent(one.operation)}`;
  };
  const draw = async () => {
    const own = ++number, { source: from, work: to } = asked();
    const isReady = from !== "" && (to !== "" || start.is_saved);
    if (!start.is_saved) try { sessionStorage.setItem("itkit.start", JSON.stringify(asked())); } catch { /* full */ }
    if (start.is_saved && !isReady) {
      fill(list, h("li", { class: "muted" }, "Choose the file; its steps stand here."));
      for (const one of [runButton, saveButton, scriptButton]) one.disabled = true;
      return;
    }
    try {
      const found = await post(`/api/starts/${start.key}`, { ...asked(), source: from || "SOURCE", work: to || "RESULTS" });
      if (own !== number) return;
      ({ steps, pipeline } = found);
      problem.textContent = "";
      fill(list, steps.map(one => h("li", {}, h("b", {}, one.why), h("pre", {}, h("code", {}, one.command || one.problem)),
        one.command ? h("button", { type: "button", onclick: () => open(one), "aria-label": `Open: ${one.why}` }, "Open the form") : null)));
      for (const one of [runButton, saveButton, scriptButton]) one.disabled = !(isReady && pipeline);
    } catch (error) {
      if (own !== number) return;
      problem.textContent = error.message;
      fill(list);
      for (const one of [runButton, saveButton, scriptButton]) one.disabled = true;
    }
  };
  saveButton.hidden = start.is_saved;
  const soon = later(250, draw);
  await draw();
  const element = h("div", {}, h("p", {}, h("a", { href: "#/" }, "← All operations")), h("h1", {}, start.title), h("p", {}, start.help),
    h("div", { class: "fields" }, h("div", {}, whichRow, source.row, work.row)), problem,
    h("h2", {}, "The steps"), h("p", { class: "muted" }, "They run one after the other, also when this page is closed; what has been done is not done again. Each can be opened and changed."),
    list, h("div", { class: "row actions" }, runButton, saveButton, scriptButton));
  return { element, title: start.title };
}
