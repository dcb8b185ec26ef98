import { accessKey, askForKey } from "./access_key.js";
import { Problem } from "./problem.js";

const TRIES = 5;
const LONGEST_WAIT_S = 20;

/** Address of an endpoint, relative to the page, so that a path prefix does no harm. */
export function endpoint(path, query = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

/**
 * Posts a file and gives the JSON answer; waits and tries again when the service says when.
 *
 * @param {URL} url
 * @param {Blob} file
 * @param {{signal: AbortSignal, onProgress?: Function, onWait?: Function}} options
 */
export function post(url, file, { signal, onProgress, onWait }) {
  return patiently(() => exchange("POST", url, file, signal, onProgress), signal, onWait);
}

/** Gets JSON, as patiently. */
export function get(url, { signal, onWait } = {}) {
  return patiently(() => exchange("GET", url, null, signal), signal, onWait);
}

async function patiently(ask, signal, onWait) {
  for (let attempt = 1; ; attempt += 1) {
    const shown = accessKey();
    try {
      return await ask();
    } catch (error) {
      const isUnknown = error instanceof Problem && error.status === 401 && attempt < TRIES;
      if (isUnknown && askForKey(shown)) continue;
      const again = error instanceof Problem && error.retryAfterS !== null && attempt < TRIES;
      if (!again) throw error;
      // Some jitter, or many pages would come back at the same moment.
      const seconds = Math.min(error.retryAfterS, LONGEST_WAIT_S) + Math.random();
      onWait?.(Math.ceil(seconds), attempt, TRIES - 1);
      await pause(seconds * 1000, signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(cancelled());
    });
  });
}

function cancelled() {
  return new DOMException("cancelled", "AbortError");
}

/** One HTTP exchange. XMLHttpRequest, because fetch tells nothing of an upload's progress. */
function exchange(method, url, body, signal, onProgress) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(cancelled());
      return;
    }
    const request = new XMLHttpRequest();
    request.open(method, url);
    request.setRequestHeader("Accept", "application/json");
    if (accessKey()) request.setRequestHeader("Authorization", `Bearer ${accessKey()}`);
    if (body) request.setRequestHeader("Content-Type", "application/octet-stream");
    if (onProgress) {
      request.upload.addEventListener("progress", (event) => {
        if (event.lengthComputable) onProgress(event.loaded / event.total);
      });
      request.upload.addEventListener("load", () => onProgress(1));
    }
    request.addEventListener("load", () => {
      const content = parsed(request.responseText);
      if (request.status === 200 && content !== null) resolve(content);
      else reject(problemOf(request, content));
    });
    request.addEventListener("error", () =>
      reject(new Problem({ slug: "unreachable", detail: "No answer came." })),
    );
    request.addEventListener("abort", () => reject(cancelled()));
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // a proxy's page, for instance
  }
}

function problemOf(request, content) {
  const type = typeof content?.type === "string" ? content.type : "";
  const seconds = Number.parseInt(request.getResponseHeader("Retry-After") ?? "", 10);
  return new Problem({
    slug: type.split("#")[1] ?? "unknown",
    detail: content?.detail ?? `The answer had the status ${request.status} and no explanation.`,
    status: request.status,
    requestId: content?.request_id ?? null,
    retryAfterS: Number.isFinite(seconds) && seconds >= 0 ? seconds : null,
  });
}
