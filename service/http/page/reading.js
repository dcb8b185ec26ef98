import { endpoint, post } from "./api.js";
import { kindOf } from "./file_kind.js";
import { Problem } from "./problem.js";

/** Problems after which the prediction alone is asked for. */
const WITHOUT_HEATMAP = new Set(["explain-disabled", "explanation-mismatch", "not-ready"]);

/**
 * One file on its way through the service. Emits `change` whenever something of it changes.
 *
 * `state` is waiting, sending, reading, retrying, done, failed or cancelled.
 */
export class Reading extends EventTarget {
  state = "waiting";
  progress = 0;
  note = "";
  kind = "unknown";
  answer = null;
  problem = null;
  noHeatmap = "";
  explaining = false;
  #controller = new AbortController();

  /**
   * @param {File} file
   * @param {{model: Object|null, operatingPoint: string|null}} choice
   */
  constructor(file, choice) {
    super();
    this.file = file;
    this.choice = choice;
    this.wish = { target: null, method: null };
  }

  get isOver() {
    return ["done", "failed", "cancelled"].includes(this.state);
  }

  /** Whether the same file may well be read at another try. */
  get canBeRetried() {
    return this.state === "cancelled" || (this.state === "failed" && this.problem.isPassing);
  }

  get result() {
    return this.answer?.results[0] ?? null;
  }

  /** Path and query that gave the answer. */
  get request() {
    const path = this.#explains ? "v1/explain" : "v1/predict";
    const wish = this.#explains ? this.wish : {};
    const { model, operatingPoint } = this.choice;
    return { path, query: { model: model?.name, operating_point: operatingPoint, ...wish } };
  }

  get #explains() {
    return this.noHeatmap === "" && this.choice.model?.explain !== null;
  }

  /** Reads the file. Never rejects: what went wrong is in `problem`. */
  async run() {
    if (this.state !== "waiting") return; // cancelled, or put in the queue twice
    this.#set({ state: "sending", progress: 0 });
    const { signal } = this.#controller;
    try {
      this.kind = await kindOf(this.file);
      this.#set({ answer: await this.#ask(signal), state: "done" });
    } catch (error) {
      if (!signal.aborted) this.#set({ problem: asProblem(error), state: "failed" });
    }
  }

  /** Stops whatever is going on. */
  cancel() {
    this.#controller.abort();
    if (!this.isOver) this.#set({ state: "cancelled" });
  }

  /** Forgets the answer and waits to be run again. */
  restart(choice) {
    this.#controller.abort();
    this.#controller = new AbortController();
    this.wish = { target: null, method: null };
    this.#set({
      choice,
      state: "waiting",
      progress: 0,
      answer: null,
      problem: null,
      noHeatmap: "",
      explaining: false,
    });
  }

  /** Asks for another heatmap of the same file; the answer stays until there is one. */
  async explain(wish) {
    const before = this.wish;
    this.#controller.abort();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    this.wish = { ...before, ...wish };
    this.#set({ explaining: true, problem: null });
    try {
      const { path, query } = this.request;
      const answer = await post(endpoint(path, query), this.file, { signal });
      this.#set({ answer, explaining: false });
    } catch (error) {
      if (signal.aborted) return;
      this.wish = before;
      this.#set({ problem: asProblem(error), explaining: false });
    }
  }

  async #ask(signal) {
    const options = {
      signal,
      onProgress: (share) => this.#set({ state: share < 1 ? "sending" : "reading", progress: share }),
      onWait: (seconds, attempt, tries) =>
        this.#set({
          state: "retrying",
          note:
            "The service cannot take it now. " +
            `Trying again in ${seconds} s (${attempt} of ${tries}).`,
        }),
    };
    if (this.#explains) {
      const { path, query } = this.request;
      try {
        return await post(endpoint(path, query), this.file, options);
      } catch (error) {
        if (!WITHOUT_HEATMAP.has(error.slug)) throw error;
        const isOff = error.slug === "explain-disabled";
        this.noHeatmap = isOff ? "No heatmap is served here." : error.detail;
      }
    } else {
      this.noHeatmap = "This model is served without heatmaps.";
    }
    const { path, query } = this.request;
    return post(endpoint(path, query), this.file, options);
  }

  #set(members) {
    Object.assign(this, members);
    this.dispatchEvent(new Event("change"));
  }
}

function asProblem(error) {
  if (error instanceof Problem) return error;
  // The file went away or may not be read: moved, deleted, or a folder.
  const detail = "The browser could not open this file. Choose it again.";
  return new Problem({ slug: "unopened", detail });
}
