// The frame: which page is shown for which address.
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { filesPage } from "./files.js";
import { jobPage, jobsPage } from "./jobs.js";
import { operationPage, operationsPage } from "./operations.js";
import { startPage } from "./start.js";
import { trainPage } from "./train.js";
import { viewPage } from "./viewer.js";

const main = document.getElementById("main");
let leave = () => {}, shows = 0;

/** A part of an address; one that was cut short stays as it is, so that its page can say that there is none. */
function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

function route() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const [, page = "", ...rest] = path.split("/").map(decoded);
  return { page, rest: rest.join("/"), query: new URLSearchParams(query) };
}

async function show() {
  const turn = ++shows;
  leave();
  leave = () => {};
  const { page, rest, query } = route();
  const own = { op: "", start: "", job: "jobs" }[page] ?? page;
  for (const link of document.querySelectorAll("#pages a")) {
    const isHere = link.getAttribute("href") === `#/${own}`;
    if (isHere) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  document.body.classList.toggle("wide", page === "view");
  fill(main, h("p", { class: "muted" }, "Loading …"));
  const pages = { "": operationsPage, op: operationPage, files: filesPage, jobs: jobsPage, job: jobPage, view: viewPage, start: startPage, train: trainPage };
  try {
    const made = await (pages[page] ?? operationsPage)(rest, query);
    if (turn !== shows) { made.leave?.(); return; }  // another page has been asked for meanwhile
    leave = made.leave ?? (() => {});
    fill(main, made.element);
    document.title = `${made.title} – ITKIT`;
    made.shown?.();
    if (!main.contains(document.activeElement)) main.focus({ preventScroll: true });
    scrollTo(0, 0);
  } catch (error) {
    if (turn !== shows) return;
    fill(main, h("h1", {}, "This page can’t be shown"), h("p", { class: "problem", role: "alert" }, error.message),
      h("p", {}, h("a", { href: "#/" }, "Back to the operations")));
  }
}

async function countJobs() {
  if (document.hidden) return;
  const badge = document.getElementById("running");
  try {
    const active = (await get("/api/jobs")).filter(job => ["waiting", "running", "stopping"].includes(job.state));
    badge.hidden = !active.length;
    badge.textContent = active.length || "";
  } catch { badge.hidden = true; }
}

const about = await get("/api/about");
document.getElementById("where").textContent = `${about.name} on ${about.machine}`;
document.getElementById("where").title = `${about.root} · ITKIT ${about.version}`;
window.addEventListener("hashchange", show);
window.addEventListener("hashchange", countJobs);
window.addEventListener("itkit-jobs", countJobs);
setInterval(countJobs, 4000);
countJobs();
show();
