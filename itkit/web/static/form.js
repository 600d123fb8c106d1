// Forms from descriptions: one maker for each kind of field. No parameter is known by its name here.
import { fill, h } from "./dom.js";

const isBlank = value => value === "" || value === null || value === undefined || (Array.isArray(value) && !value.some(one => one !== ""));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b) || String(a) === String(b);
const text = value => (value === null || value === undefined ? "" : String(value));

/** What each kind looks like: `get` gives what the model takes, `set` shows a value of the model or of an earlier visit. */
const MAKERS = {
  flag(field, id) {
    const box = h("input", { type: "checkbox", id, name: field.name });
    return { control: box, get: () => box.checked, set: value => { box.checked = value === true; }, inputs: [box] };
  },

  choice(field, id) {
    const options = field.choices.map(one => h("option", { value: one }, one));
    if (!field.required && field.default === null) options.unshift(h("option", { value: "" }, "not given"));
    else if (field.required) options.unshift(h("option", { value: "" }, "choose …"));
    const select = h("select", { id, name: field.name }, options);
    return { control: select, get: () => select.value, set: value => { select.value = text(value); }, inputs: [select] };
  },

  number: (field, id) => single(field, id, { inputmode: field.item === "integer" ? "numeric" : "decimal", class: "number" }),
  text: (field, id) => single(field, id, { placeholder: field.example ? `e.g. ${field.example}` : null, spellcheck: "false" }),

  secret(field, id) {
    const made = single(field, id, { type: "password", autocomplete: "off" });
    return { ...made, keep: () => "" };
  },

  triplet: (field, id) => boxes(field, id),
  several: (field, id) => boxes(field, id),

  file: (field, id, tools) => path(field, id, tools),
  folder: (field, id, tools) => path(field, id, tools),
  dataset: (field, id, tools) => path(field, id, tools),

  list(field, id, tools) {
    if (field.choices.length) {
      const all = field.choices.map(one => h("input", { type: "checkbox", name: field.name, value: one }));
      return {
        control: h("div", { class: "checks", id, role: "group" }, all.map(box => h("label", {}, box, " ", box.value))),
        get: () => all.filter(box => box.checked).map(box => box.value),
        set: value => { for (const box of all) box.checked = (value ?? []).map(String).includes(box.value); },
        inputs: all,
      };
    }
    const area = h("textarea", { id, name: field.name, rows: 2, spellcheck: "false", placeholder: "one on each line" });
    const add = field.item === "path" ? h("button", { type: "button", onclick: async () => {
      const found = await tools.pick({ file: false, start: "" });
      if (found === null) return;
      area.value = [...area.value.split("\n").filter(Boolean), found].join("\n");
      area.dispatchEvent(new Event("input", { bubbles: true }));
    } }, "Add …") : null;
    return {
      control: h("div", { class: "picker" }, area, add),
      get: () => area.value.split("\n").map(line => line.trim()).filter(Boolean),
      set: value => { area.value = (Array.isArray(value) ? value : isBlank(value) ? [] : [value]).join("\n"); },
      inputs: [area],
    };
  },

  steps(field, id) {
    const rows = h("ol", { class: "steps" });
    const kinds = Object.fromEntries(field.steps.map(one => [one.name, one]));
    const told = () => rows.dispatchEvent(new Event("input", { bubbles: true }));
    const add = (kind, values = "") => {
      const about = kinds[kind];
      const input = h("input", {
        type: "text", name: field.name, value: values, placeholder: about.metavar, spellcheck: "false",
        "aria-label": `${kind}: ${about.metavar || "no values"}`, disabled: !about.metavar,
      });
      const row = h("li", { "data-kind": kind }, h("b", { title: about.help }, kind), input,
        h("button", { type: "button", title: "Earlier", "aria-label": `${kind}: earlier`, onclick: () => { row.previousElementSibling?.before(row); told(); } }, "↑"),
        h("button", { type: "button", title: "Later", "aria-label": `${kind}: later`, onclick: () => { row.nextElementSibling?.after(row); told(); } }, "↓"),
        h("button", { type: "button", title: "Remove", "aria-label": `${kind}: remove`, onclick: () => { row.remove(); select.focus(); told(); } }, "✕"));
      rows.append(row);
    };
    const select = h("select", { id, onchange: () => {
      if (select.value) { add(select.value); rows.lastElementChild.querySelector("input").focus(); }
      select.value = "";
      told();
    } }, h("option", { value: "" }, "add a step …"), field.steps.map(one => h("option", { value: one.name, title: one.help }, `${one.name} – ${one.help}`)));
    return {
      control: h("div", {}, rows, select),
      get: () => [...rows.children].map(row => `${row.dataset.kind} ${row.querySelector("input").value}`.trim()),
      set: value => {
        fill(rows);
        for (const step of value ?? []) {
          const [kind, ...rest] = String(step).split(" ");
          if (kinds[kind]) add(kind, rest.join(" "));
        }
      },
      inputs: [select],
    };
  },
};

function single(field, id, props) {
  const input = h("input", { type: "text", id, name: field.name, autocomplete: "off", ...props });
  return { control: input, get: () => input.value, set: value => { input.value = text(value); }, inputs: [input] };
}

function boxes(field, id) {
  const keep = field.keep === null ? null : String(field.keep);
  const inputs = field.parts.map((part, at) => h("input", {
    type: "text", id: at ? null : id, name: field.name, "data-part": part, autocomplete: "off", spellcheck: "false",
    inputmode: field.item === "text" ? null : "decimal", class: field.item === "text" ? null : "number",
    placeholder: field.blank || null, "aria-label": `${field.label} ${part}${field.unit ? `, ${field.unit}` : ""}`,
  }));
  const control = h("div", { class: "boxes" }, inputs.map((input, at) => h("label", {}, h("span", {}, field.parts[at]), input)));
  return {
    control,
    get: () => {
      const values = inputs.map(input => input.value.trim());
      if (values.every(value => value === "")) return "";
      if (keep !== null) return values.map(value => (value === "" || value === field.blank ? keep : value));
      while (values.at(-1) === "") values.pop();
      return values;
    },
    set: value => inputs.forEach((input, at) => {
      const one = Array.isArray(value) ? text(value[at]) : at ? "" : text(value);
      input.value = keep !== null && one !== "" && Number(one) === Number(keep) ? "" : one;
    }),
    inputs,
  };
}

function path(field, id, tools) {
  const input = h("input", {
    type: "text", id, name: field.name, autocomplete: "off", spellcheck: "false",
    placeholder: field.writes ? "new or existing, below the root" : "below the root",
  });
  const button = h("button", { type: "button", "aria-label": `${field.label}: browse`, onclick: async () => {
    const found = await tools.pick({ file: field.kind === "file", writes: field.writes, start: input.value });
    if (found === null) return;
    input.value = found;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  } }, "Browse …");
  return { control: h("div", { class: "picker" }, input, button), get: () => input.value, set: value => { input.value = text(value); }, inputs: [input] };
}

/** Whether a message is about one of several values, e.g. that of an axis. */
function names(message, field, at) {
  const part = field.parts[at];
  return part !== undefined && [" ", ": "].some(between => message.includes(`${field.label}${between}${part}:`));
}

/** Draw a form; values go out as its model takes them. */
export function makeForm(form, tools) {
  const prefix = tools.prefix ?? "field-";
  const drawn = form.fields.filter(field => !field.is_consent).map(field => {
    const id = prefix + field.name;
    const maker = MAKERS[field.kind] ?? MAKERS.text;
    const made = maker(field, id, tools);
    const problem = h("p", { class: "problem", id: `${id}-problem`, "aria-live": "polite" });
    const help = h("p", { class: "help", id: `${id}-help` }, field.help, field.bounds ? ` (${field.bounds})` : null);
    for (const input of made.inputs) input.setAttribute("aria-describedby", `${id}-help ${id}-problem`);
    if (field.required) made.inputs[0].setAttribute("aria-required", "true");
    const unit = field.unit && field.kind !== "flag" ? h("span", { class: "unit" }, field.unit) : null;
    const label = h("label", { for: id, title: field.option }, field.label, field.required ? h("span", { class: "must", "aria-hidden": "true" }, " *") : null);
    const row = h("div", { class: `field kind-${field.kind}`, "data-name": field.name },
      field.kind === "flag" ? h("div", { class: "tick" }, made.control, label) : [label, h("div", { class: "entry" }, made.control, unit)],
      help, problem);
    const one = { field, made, row, problem, isTouched: false };
    row.addEventListener("input", () => { one.isTouched = true; });
    row.addEventListener("change", () => { one.isTouched = true; });
    made.set(field.default);
    return one;
  });
  const byName = Object.fromEntries(drawn.map(one => [one.field.name, one]));
  const matters = one => one.field.conditions.every(({ name, values }) => {
    const other = byName[name];
    if (!other) return true;
    const value = other.made.get();
    return values === null ? !isBlank(value) && !same(value, other.field.default) : values.includes(String(value));
  });

  const sections = form.groups.map(title => {
    const own = drawn.filter(one => one.field.group === title);
    const plain = own.filter(one => !one.field.is_advanced), advanced = own.filter(one => one.field.is_advanced);
    const extra = advanced.length ? h("details", {}, h("summary", {}, "Advanced"), advanced.map(one => one.row)) : null;
    const element = title
      ? h("fieldset", {}, h("legend", {}, title), plain.map(one => one.row), extra)
      : h("div", {}, plain.map(one => one.row), extra);
    return { element, own, extra };
  });

  const arrange = () => {
    for (const one of drawn) one.row.hidden = !matters(one);
    for (const { element, own } of sections) element.hidden = own.every(one => one.row.hidden);
  };
  const values = read => Object.fromEntries(drawn
    .filter(one => matters(one))
    .map(one => [one.field.name, read(one)])
    .filter(([name, value]) => !isBlank(value) && !(value === false && byName[name].field.default !== true)));
  return {
    element: h("div", { class: "fields" }, sections.map(section => section.element)),
    arrange,
    values: () => values(one => one.made.get()),
    kept: () => values(one => (one.made.keep ?? one.made.get)()),
    /** The folder that the operation reads first, so that other pages can open it with one. */
    sourceName: form.fields.find(field => !field.writes && ["folder", "dataset"].includes(field.kind))?.name,
    load(given) {
      for (const one of drawn) if (one.field.name in given) one.made.set(given[one.field.name]);
      arrange();
    },
    reset() {
      for (const one of drawn) { one.made.set(one.field.default); one.isTouched = false; }
      arrange();
    },
    /** Show messages beside their fields: those of fields that were touched, or all. */
    problems(messages, all) {
      for (const one of drawn) {
        if (all) one.isTouched = true;
        const message = one.isTouched ? messages[one.field.name] ?? "" : "";
        one.problem.textContent = message;
        one.row.classList.toggle("wrong", message !== "");
        const named = one.made.inputs.filter((_, at) => names(message, one.field, at));
        for (const input of one.made.inputs) input.setAttribute("aria-invalid", String(message !== "" && (!named.length || named.includes(input))));
        if (message) for (let up = one.row.closest("details"); up; up = up.parentElement.closest("details")) up.open = true;
      }
    },
  };
}
