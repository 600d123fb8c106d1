// The dialog that picks a folder or file below the root.
import { get } from "./api.js";
import { fill, h } from "./dom.js";

/** Ask for a path; resolves to the path, or to null when nothing was picked. */
export function pick({ file = false, writes = false, start = "" }) {
  return new Promise(resolve => {
    const list = h("ul", { class: "entries" });
    const where = h("p", { class: "crumbs" });
    const name = h("input", { type: "text", placeholder: "name of a new folder", "aria-label": "Name of a new folder or file" });
    const problem = h("p", { class: "problem", role: "alert" });
    let here = "", picked = null;
    const done = value => { picked = value; dialog.close(); };
    const joined = last => [here, last].filter(Boolean).join("/");
    const open = async path => {
      problem.textContent = "";
      try {
        const found = await get("/api/browse", { path });
        here = found.path;
        fill(where, crumbs(found.path, open));
        const shown = found.entries.filter(entry => entry.is_folder || file);
        fill(list, shown.map(entry => h("li", {}, h("button", {
          type: "button", class: "entry-button",
          onclick: () => (entry.is_folder ? open(entry.path) : done(entry.path)),
        }, h("span", { "aria-hidden": "true", class: "glyph" }, entry.is_folder ? "▸" : "·"), entry.name))),
        shown.length ? null : h("li", { class: "muted" }, file ? "Nothing in here." : "No folders in here."));
      } catch (error) {
        if (path) { open(""); return; }
        problem.textContent = error.message;
      }
    };
    const dialog = h("dialog", { class: "browser", "aria-label": file ? "Pick a file" : "Pick a folder" },
      h("h2", {}, file ? "Pick a file" : "Pick a folder"), where, list,
      writes ? h("label", { class: "new" }, "New: ", name) : null, problem,
      h("div", { class: "row" },
        h("button", { type: "button", class: "first", hidden: file && !writes, onclick: () => done(joined(name.value.trim()) || ".") },
          writes ? "Use this" : "Use this folder"),
        h("button", { type: "button", onclick: () => dialog.close() }, "Cancel")));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(picked); });
    document.body.append(dialog);
    dialog.showModal();
    open(start.startsWith("/") ? "" : start);
  });
}

/** The way to a folder, each part a button. */
export function crumbs(path, open) {
  const parts = path ? path.split("/") : [];
  const steps = [["root", ""], ...parts.map((part, at) => [part, parts.slice(0, at + 1).join("/")])];
  return steps.map(([title, to], at) => [at ? h("span", { class: "muted" }, " / ") : null,
    h("button", { type: "button", class: "crumb", onclick: () => open(to), "aria-current": at === steps.length - 1 ? "page" : null }, title)]);
}
