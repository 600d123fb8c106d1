// The files below the root: folders to walk, volumes to look at, datasets to work on.
import { address, get } from "./api.js";
import { bytesInWords, h } from "./dom.js";
import { crumbs } from "./browser.js";

export async function filesPage(path) {
  const found = await get("/api/browse", { path });
  const go = to => { location.hash = `#/files/${to.split("/").map(encodeURIComponent).join("/")}`; };
  const open = entry => {
    if (entry.is_folder) return `#/files/${entry.path.split("/").map(encodeURIComponent).join("/")}`;
    if (entry.is_volume) return address("#/view", { path: entry.path });
    if (entry.is_pipeline) return address("#/start/pipeline", { source: entry.path });
    return null;
  };
  const rows = found.entries.map(entry => {
    const to = open(entry);
    const name = to ? h("a", { href: to }, entry.name)
      : entry.is_shown ? h("a", { href: address("/api/file", { path: entry.path }), target: "_blank", rel: "noopener" }, entry.name)
        : entry.name;
    return h("tr", {}, h("td", {}, h("span", { class: "glyph", "aria-hidden": "true" }, entry.is_folder ? "▸" : entry.is_volume ? "◧" : "·"), name),
      h("td", { class: "n" }, bytesInWords(entry.bytes)),
      h("td", { class: "n muted" }, new Date(entry.modified * 1000).toLocaleString()));
  });
  const actions = found.is_dataset ? h("div", { class: "row" },
    h("span", {}, "A dataset:"),
    ["itk_check", "itk_resample", "itk_stats"].map(name =>
      h("a", { class: "button", href: address(`#/op/${name}`, { source: found.path || "." }) }, name))) : null;
  const watch = found.is_training ? h("div", { class: "row" }, h("a", { class: "button", href: `#/train/${path.split("/").map(encodeURIComponent).join("/")}` }, "Curves and pictures of this training")) : null;
  const element = h("div", {}, h("h1", {}, path ? path.split("/").pop() : "Files"),
    h("p", { class: "crumbs" }, crumbs(found.path, go)), actions, watch,
    rows.length ? h("div", { class: "scroll tall" }, h("table", { class: "stacks" }, h("thead", {}, h("tr", {}, h("th", {}, "Name"), h("th", { class: "n" }, "Size"), h("th", { class: "n" }, "Changed"))), h("tbody", {}, rows)))
      : h("p", { class: "muted" }, "This folder is empty. Copy volumes into it, or start itkit-web with --root at another folder."),
    found.is_cut ? h("p", { class: "muted" }, "Only a part of this folder is listed.") : null);
  return { element, title: "Files" };
}
