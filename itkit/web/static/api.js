// The server, as functions. A refusal becomes a `Problem` that carries the server's words.

export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || `the server answers ${status}`);
    this.status = status;
    this.body = body ?? {};
  }
}

async function answered(reply) {
  if (reply.ok) return reply;
  let body = null;
  try { body = await reply.json(); } catch { /* no JSON: the status says it */ }
  throw new Problem(reply.status, body);
}

async function reached(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The server does not answer; is itkit-web still running?" });
  }
}

export function address(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

export async function get(path, query, signal) {
  return (await answered(await reached(address(path, query), { signal }))).json();
}

export async function post(path, body = {}, signal) {
  const headers = { "content-type": "application/json", "x-itkit": "1" };
  return (await answered(await reached(path, { method: "POST", headers, body: JSON.stringify(body), signal }))).json();
}

/** A reply of a server that may read too many volumes just now: it is asked again, a few times. */
async function patient(path, signal) {
  for (let pause = 400; ; pause *= 2) {
    const reply = await reached(path, { signal });
    if (reply.status !== 503 || pause > 8000) return answered(reply);
    await new Promise(go => setTimeout(go, pause));
  }
}

/** Voxels: the facts about them, and an Int16Array in the order Z, Y, X. */
export async function voxels(query, signal, onPart = () => {}) {
  const reply = await patient(address("/api/volume/data", query), signal);
  const facts = JSON.parse(reply.headers.get("x-itkit-voxels"));
  const total = 2 * facts.shape.reduce((a, b) => a * b, 1);
  const bytes = new Uint8Array(total);
  const reader = reply.body.getReader();
  for (let at = 0; ;) {
    const { done, value } = await reader.read();
    if (done) {
      if (at !== total) throw new Problem(0, { detail: "the volume arrived in part; try again" });
      break;
    }
    bytes.set(value, at);
    at += value.length;
    onPart(at / total);
  }
  return { facts, data: new Int16Array(bytes.buffer) };  // browsers run on little-endian machines
}

/** Follow a job until it ends, or until `stop` of what is returned is called. A hidden tab does not listen. */
export function follow(job, on) {
  let source = null, isOver = false;
  const open = () => {
    if (source || isOver || document.hidden) return;
    on.restart();
    source = new EventSource(`/api/jobs/${encodeURIComponent(job)}/events?everything=true`);
    source.onmessage = message => on.event(JSON.parse(message.data));
    source.addEventListener("log", message => on.log(JSON.parse(message.data)));
    source.addEventListener("state", message => on.state(JSON.parse(message.data)));
    source.addEventListener("end", message => {
      isOver = true;
      close();
      on.state(JSON.parse(message.data));
      on.end();
    });
    source.onerror = () => { close(); setTimeout(open, 2000); };
  };
  const close = () => { source?.close(); source = null; };
  const seen = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", seen);
  open();
  return { stop() { isOver = true; close(); document.removeEventListener("visibilitychange", seen); } };
}
