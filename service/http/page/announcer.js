const GATHER_MS = 300;

/** Tells people who do not see the page what has changed. */
export class Announcer {
  #messages = [];

  /** @param {Element} region a live region */
  constructor(region) {
    this.region = region;
  }

  /** Says something; what comes within a moment is said together. */
  say(text) {
    this.#messages.push(text);
    if (this.#messages.length > 1) return;
    setTimeout(() => {
      this.region.textContent = this.#messages.join(" ");
      this.#messages = [];
    }, GATHER_MS);
  }
}
