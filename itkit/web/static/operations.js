// The list of operations, and the page of one: form, plan, command line, run.
import { follow, get, post } from "./api.js";
import { pick } from "./browser.js";
import { fill, h, later, save, tell } from "./dom.js";
import { makeForm } from "./form.js";
import { planTable } from "./tables.js";

export async function operationsPage() {
  const [operations, { starts }] = await Promise.all([get("/api/operations"), get("/api/starts")]);
  const list = h("div", { id: "operations" });
  const empty = h("p", { class: "muted", hidden: true }, "No operation answers this search.");
  const search = h("input", {
    type: "search", id: "search", placeholder: "Search: spacing, DICOM, labels …", "aria-label": "Search operations",
    oninput: () => draw(search.value),
  });
  const draw = words => {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const found = operations.filter(one => {
      const text = `${one.name} ${one.title} ${one.summary} ${one.group}`.toLowerCase();
      return wanted.every(word => text.includes(word));
    });
    empty.hidden = found.length > 0;
    const groups = Map.groupBy ? Map.groupBy(found, one => one.group) : grouped(found);
    fill(list, [...groups].map(([title, ones]) => h("section", {}, h("h2", {}, title), h("ul", { class: "choices" },
      ones.map(one => h("li", {}, h("a", { href: `#/op/${encodeURIComponent(one.name)}`, class: "choice" },
        h("b", {}, one.title), h("span", { class: "muted" }, one.summary),
        one.package ? h("span", { class: "tag" }, one.package) : null)))))));
  };
  draw("");
  const element = h("div", {},
    h("h1", {}, "What do you have?"),
    h("ul", { class: "starts" }, starts.map(one =>
      h("li", {}, h("a", { href: `#/start/${one.key}`, class: "choice" }, h("b", {}, one.title), h("span", { class: "muted" }, one.help))))),
    h("div", { class: "searching" }, search), list, empty);
  return { element, title: "Operations" };
}

function grouped(items) {
  const groups = new Map();
  for (const one of items) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  return groups;
}

export async function operationPage(name, query) {
  const operation = await get(`/api/operations/${encodeURIComponent(name)}`);
  const key = `itkit.values.${operation.name}`;
  const form = makeForm(operation.form, { pick });
  const options = makeForm(operation.options, { pick, prefix: "option-" });
  const command = h("code", { id: "command" });
  const general = h("p", { class: "problem", role: "alert", id: "problem" });
  const planned = h("section", { "aria-live": "polite" });
  const runButton = h("button", { type: "submit", class: "first", id: "run" }, "Run");
  const planButton = h("button", { type: "button", id: "plan", onclick: () => start("plan") }, "Plan");
  let following = null, number = 0;

  const asked = () => ({ params: form.values(), options: options.values() });
  const showProblems = (body, all) => {
    form.problems(body.problems ?? {}, all);
    options.problems(body.option_problems ?? {}, all);
    const rest = [body.problems?.[""], body.option_problems?.[""]].filter(Boolean).join("\n");
    general.textContent = rest;
    if (Object.keys(body.option_problems ?? {}).length) more.open = true;
  };
  const check = async (all = false) => {
    const own = ++number;
    try {
      const found = await post(`/api/check/${encodeURIComponent(operation.name)}`, asked());
      if (own !== number) return;
      showProblems(found, all);
      command.textContent = found.command || "";
      commandBox.hidden = !found.command;
      runButton.textContent = found.deletes ? "Run (deletes files) …" : "Run";
    } catch (error) {
      if (own === number) { general.textContent = error.message; commandBox.hidden = true; }
    }
  };
  const soon = later(250, () => check());
  const changed = () => {
    form.arrange();
    options.arrange();
    try { sessionStorage.setItem(key, JSON.stringify({ params: form.kept(), options: options.kept() })); } catch { /* full */ }
    soon();
  };

  const start = async (kind, confirm = "") => {
    general.textContent = "";
    planButton.disabled = runButton.disabled = true;
    try {
      const where = kind === "plan" ? "plan" : "jobs";
      const { job } = await post(`/api/${where}/${encodeURIComponent(operation.name)}`, { ...asked(), confirm });
      if (kind === "plan") showPlan(job); else location.hash = `#/job/${encodeURIComponent(job)}`;
    } catch (error) {
      if (error.status === 409 && error.body.confirm) { askForName(error); return; }
      if (error.body?.problems) showProblems(error.body, true); else general.textContent = error.message;
      (element.querySelector("[aria-invalid=true]") ?? general).focus?.();
    } finally {
      planButton.disabled = runButton.disabled = false;
    }
  };
  const askForName = error => {
    const typed = h("input", { type: "text", id: "confirm", autocomplete: "off", "aria-label": "Name of the folder" });
    const yes = h("button", { type: "submit", class: "bad", disabled: true }, "Delete and run");
    typed.addEventListener("input", () => { yes.disabled = typed.value !== error.body.confirm; });
    const dialog = h("dialog", { "aria-labelledby": "confirm-title" }, h("form", { method: "dialog" },
      h("h2", { id: "confirm-title" }, "Files may be deleted"),
      h("p", {}, "This run may delete files in the folder ", h("b", {}, error.body.confirm),
        ". There is no undo. Type the folder’s name to go on:"),
      typed, h("div", { class: "row" }, yes,
        h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"))));
    dialog.addEventListener("submit", event => { event.preventDefault(); dialog.close(); start("run", typed.value); });
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  };
  const showPlan = job => {
    following?.stop();
    const table = planTable();
    const said = h("p", { class: "muted" }, "Planning …");
    fill(planned, h("h2", {}, "What would happen"), said, table.element);
    planned.scrollIntoView({ behavior: "smooth", block: "nearest" });
    const lines = [];
    following = follow(job, {
      restart: () => { table.clear(); lines.length = 0; },
      event: event => {
        table.add(event);
        if (event.event === "summary") said.textContent = event.text;
      },
      log: more => lines.push(...more),
      state: () => {},
      end: () => { if (said.textContent === "Planning …") said.textContent = lines.at(-1) ?? "Nothing to do."; },
    });
  };

  planButton.hidden = operation.is_tool;
  const more = h("details", { class: "options", hidden: operation.is_tool }, h("summary", {}, "Run options"), options.element);
  const commandBox = h("div", { class: "command", hidden: true }, h("h2", {}, "The same in a terminal"),
    h("pre", {}, command),
    h("button", { type: "button", onclick: () => copy(command.textContent) }, "Copy"));
  const file = h("input", { type: "file", id: "preset", accept: ".toml,.json", hidden: true, onchange: async () => {
    const [chosen] = file.files;
    try { load((await post(`/api/preset/${encodeURIComponent(operation.name)}`, { text: await chosen.text(), file: chosen.name })).values); }
    catch (error) { tell(error.message, true); }
    file.value = "";
  } });
  const load = values => {
    form.reset();
    options.reset();
    form.load(values);
    options.load(values);
    changed();
    check(true);
  };
  const fields = h("form", { id: "form", novalidate: true, onsubmit: event => { event.preventDefault(); start("run"); } },
    form.element, more, general,
    h("div", { class: "row actions" }, runButton, planButton,
      h("button", { type: "button", class: "quiet", onclick: () => { form.reset(); options.reset(); changed(); } }, "Reset"),
      h("button", { type: "button", class: "quiet", onclick: () => file.click() }, "Load preset"),
      h("button", { type: "button", class: "quiet", onclick: () => save(`${operation.name}.json`, new Blob(
        [JSON.stringify({ ...form.values(), ...options.values() }, null, 2)], { type: "application/json" })) }, "Save preset"),
      file));
  fields.addEventListener("input", changed);
  fields.addEventListener("change", changed);
  const element = h("div", {}, h("h1", {}, operation.title), h("p", {}, operation.form.help),
    fields, commandBox, planned);

  let before = null;
  try { before = JSON.parse(sessionStorage.getItem(key)); } catch { /* none */ }
  if (query.get("from")) {
    const job = await get(`/api/jobs/${encodeURIComponent(query.get("from"))}`);
    before = { params: job.params, options: job.options };
  }
  if (query.get("source")) before = { ...before, params: { ...before?.params, [form.sourceName]: query.get("source") } };
  if (before) { form.load(before.params ?? {}); options.load(before.options ?? {}); }
  form.arrange();
  options.arrange();
  check();
  return { element, title: operation.title, leave: () => following?.stop() };
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied.");
  } catch {
    tell("The browser does not allow copying here; select the line and copy it.", true);
  }
}
