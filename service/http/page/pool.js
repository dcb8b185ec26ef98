/** Runs tasks in their order, a few at a time. */
export class Pool {
  #waiting = [];
  #running = 0;

  /** @param {number} limit tasks at a time */
  constructor(limit) {
    this.limit = limit;
  }

  /** Takes a function that gives a promise; rejections are the task's own affair. */
  add(task) {
    this.#waiting.push(task);
    this.#next();
  }

  #next() {
    while (this.#running < this.limit && this.#waiting.length > 0) {
      this.#running += 1;
      const task = this.#waiting.shift();
      task().finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }
}
