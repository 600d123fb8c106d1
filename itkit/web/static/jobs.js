// All jobs, and one job while it runs and after it.
import { address, follow, get, post } from "./api.js";
import { fill, h, inWords, save, tell } from "./dom.js";
import { caseTable } from "./tables.js";

const ACTIVE = ["waiting", "running", "stopping"];

function when(seconds) {
  return seconds ? new Date(seconds * 1000).toLocaleString() : "";
}

function counts(job) {
  return Object.entries(job.counts ?? {}).map(([status, count]) => `${count} ${status}`).join(", ");
}

export async function jobsPage() {
  const body = h("tbody");
  const empty = h("p", { class: "muted" }, "No job yet. ", h("a", { href: "#/" }, "Choose an operation"), ", fill in its form and run it; the job goes on when this page is closed.");
  const table = h("div", { class: "scroll tall" }, h("table", { id: "jobs", class: "stacks" }, h("thead", {}, h("tr", {}, ["Job", "State", "Cases", "Started", "Result"].map(one => h("th", {}, one)))), body));
  const draw = jobs => {
    empty.hidden = jobs.length > 0;
    table.hidden = !jobs.length;
    fill(body, jobs.map(job => h("tr", { class: job.state === "failed" ? "bad" : null },
      h("td", {}, h("a", { href: `#/job/${encodeURIComponent(job.job)}` }, job.operation)),
      h("td", {}, h("span", { class: `status ${job.state}` }, job.state)),
      h("td", {}, ACTIVE.includes(job.state) && job.total ? h("progress", { max: job.total, value: job.ended, "aria-label": "cases" }) : counts(job)),
      h("td", { class: "muted" }, when(job.started ?? job.added)),
      h("td", {}, job.dest ? job.dest.split("/").slice(-2).join("/") : job.message))));
  };
  draw(await get("/api/jobs"));
  const timer = setInterval(async () => { if (!document.hidden) try { draw(await get("/api/jobs")); } catch { /* next time */ } }, 2000);
  return { element: h("div", {}, h("h1", {}, "Jobs"), empty, table), title: "Jobs", leave: () => clearInterval(timer) };
}

export async function jobPage(id) {
  const about = await get("/api/about");
  let job = await get(`/api/jobs/${encodeURIComponent(id)}`);
  const root = about.root.endsWith("/") ? about.root : `${about.root}/`;
  const relative = path => (path.startsWith(root) ? path.slice(root.length) : "");
  const cases = caseTable(relative);
  const state = h("span", { class: "status", id: "state", role: "status" });
  const bar = h("progress", { id: "progress", "aria-label": "Progress" });
  const numbers = h("p", { class: "muted", id: "numbers" });
  const message = h("p", { id: "message" });
  const notes = h("ul", { class: "notes" });
  const log = h("pre", { id: "log", tabindex: "0" });
  const lines = [];
  const reports = h("ul", { class: "reports" });
  const reportsBox = h("section", { hidden: true }, h("h2", {}, "Reports and tables"), reports);
  const stop = h("button", { type: "button", id: "stop", onclick: async () => {
    stop.disabled = true;
    try { await post(`/api/jobs/${encodeURIComponent(id)}/stop`); tell("Stopping: what is being written is finished or removed."); }
    catch (error) { tell(error.message, true); stop.disabled = false; }
  } }, "Stop");
  const onlyBad = h("input", { type: "checkbox", id: "only-bad", onchange: () => cases.filter(onlyBad.checked ? data => ["failed", "crashed", "nonconforming", "unpaired"].includes(data.status) : () => true) });
  const casesBox = h("section", {}, h("h2", {}, "Cases"), h("label", { class: "tick" }, onlyBad, " only those with problems"), cases.element);
  const search = h("input", { type: "search", placeholder: "Search the log", "aria-label": "Search the log", oninput: () => drawLog() });
  const drawLog = () => {
    const wanted = search.value.toLowerCase();
    log.textContent = lines.filter(line => line.toLowerCase().includes(wanted)).slice(-2000).join("\n") || (lines.length ? "No line holds this text." : "Nothing has been said yet.");
  };
  const again = h("a", { class: "button", href: address(`#/op/${encodeURIComponent(job.operation)}`, { from: id }) }, "Open the form");
  const dest = h("a", { class: "button", hidden: true }, "Open the output folder");
  const curves = h("a", { class: "button", id: "curves", hidden: true }, "Curves and pictures");
  const drawState = now => {
    job = { ...job, ...now };
    const isInside = job.dest && `${job.dest}/`.startsWith(root);
    dest.hidden = !isInside;
    const place = isInside ? relative(`${job.dest}/`).replace(/\/$/, "").split("/").map(encodeURIComponent).join("/") : "";
    if (isInside) dest.href = `#/files/${place}`;
    curves.hidden = !(isInside && (job.is_training || job.unit === "step"));
    curves.href = `#/train/${place}`;
    casesBox.hidden = job.unit === "step" || (!job.total && !ACTIVE.includes(job.state));
    state.textContent = job.state;
    state.className = `status ${job.state}`;
    stop.hidden = !ACTIVE.includes(job.state);
    again.hidden = !Object.keys(job.params ?? {}).length;
    if (job.total) { bar.max = job.total; bar.value = job.ended; } else if (ACTIVE.includes(job.state)) bar.removeAttribute("value"); else { bar.max = 1; bar.value = job.state === "done" ? 1 : 0; }
    const left = inWords(job.left_s);
    const took = job.started && job.finished ? inWords(job.finished - job.started) : "";
    numbers.textContent = [job.total ? `${job.ended} of ${job.total} ${job.unit ?? "case"}s` : "", counts(job), job.doing, left ? `${left} left` : "", took ? `took ${took}` : ""].filter(Boolean).join(" · ");
    message.textContent = ACTIVE.includes(job.state) ? "" : job.message;
    message.className = job.state === "failed" ? "problem" : "";
  };
  const drawReports = found => {
    reportsBox.hidden = !found.length;
    fill(reports, found.map(one => h("li", {}, h("a", { href: address("/api/file", { path: one.path }), target: "_blank", rel: "noopener" }, one.name))));
  };
  drawState(job);
  drawReports(job.reports ?? []);
  drawLog();
  const following = follow(id, {
    restart: () => { cases.clear(); fill(notes); lines.length = 0; },
    event: event => {
      cases.add(event);
      if (event.event === "note") lines.push(event.text);
      if (event.event === "validation") lines.push(`step ${event.step}: mean Dice ${event.val_dice.toFixed(4)}`);
      if (event.event === "start") fill(notes, (event.notes ?? []).map(note => h("li", {}, note)));
      if (event.event === "summary") for (const line of event.lines ?? []) lines.push(line);
    },
    log: more => { lines.push(...more); drawLog(); },
    state: drawState,
    end: async () => { drawLog(); window.dispatchEvent(new Event("itkit-jobs")); try { drawReports((await get(`/api/jobs/${encodeURIComponent(id)}`)).reports); } catch { /* they stay */ } },
  });
  const element = h("div", {}, h("p", {}, h("a", { href: "#/jobs" }, "← All jobs")),
    h("h1", {}, job.operation, " ", state), bar, numbers, message, notes,
    h("div", { class: "row actions" }, stop, again, curves, dest), casesBox, reportsBox,
    h("section", {}, h("h2", {}, "Log"), h("div", { class: "row" }, search,
      h("button", { type: "button", class: "quiet", onclick: () => save(`${id}.log`, new Blob([lines.join("\n")], { type: "text/plain" })) }, "Save the log")), log),
    job.command ? h("section", {}, h("h2", {}, "The same in a terminal"), h("pre", {}, h("code", {}, job.command))) : null);
  return { element, title: job.operation, leave: () => following.stop() };
}
