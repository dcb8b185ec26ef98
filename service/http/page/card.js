import { copy } from "./clipboard.js";
import { curlCommand } from "./curl.js";
import { details } from "./details.js";
import { button, element, freshId } from "./dom.js";
import { showExplanation } from "./explanation.js";
import { size, unbroken, words } from "./format.js";
import { probabilityScale } from "./scale.js";
import { statusOf } from "./status.js";
import { Viewer } from "./viewer.js";
import { Windowing } from "./windowing.js";

/** What people see of one reading. */
export class Card {
  #shownAnswer = null;
  #pictureAddress = null;
  #windowing = null;

  /**
   * @param {import("./reading.js").Reading} reading
   * @param {{onRemove: Function, onRetry: Function, say: (text: string) => void}} actions
   */
  constructor(reading, actions) {
    this.reading = reading;
    this.actions = actions;
    this.id = freshId("reading");
    const titleId = freshId("title");
    this.title = element("h3", { id: titleId, tabindex: "-1" }, reading.file.name);
    this.facts = element("p", { class: "quiet" }, size(reading.file.size));
    this.cancel = button("Cancel", () => reading.cancel(), { "aria-describedby": titleId });
    this.retry = button("Read again", () => actions.onRetry(), { "aria-describedby": titleId });
    const remove = button("Remove", () => actions.onRemove(), { "aria-describedby": titleId });
    this.status = element("div", { class: "status" });
    this.answer = element("div", { class: "answer" });
    this.body = element("div", { class: "body", hidden: true }, this.answer);
    this.node = element(
      "article",
      { class: "card", id: this.id, "aria-labelledby": titleId },
      element(
        "header",
        {},
        element("div", { class: "title" }, this.title, this.facts),
        element("div", { class: "buttons" }, this.cancel, this.retry, remove),
      ),
      this.status,
      this.body,
    );
    this.update();
  }

  /** Frees what the card holds outside the page. */
  close() {
    this.#windowing?.close();
    if (this.#pictureAddress) URL.revokeObjectURL(this.#pictureAddress);
  }

  /** Shows the reading as it is now. */
  update() {
    const { reading } = this;
    this.node.dataset.state = reading.state;
    this.cancel.hidden = reading.isOver;
    this.retry.hidden = !reading.canBeRetried;
    this.status.replaceChildren(...statusOf(reading));
    this.body.hidden = reading.answer === null;
    if (reading.answer !== null) this.#showAnswer();
  }

  #showAnswer() {
    const { reading } = this;
    if (!this.viewer) this.#openViewer();
    this.viewer.busy = reading.explaining;
    if (this.#shownAnswer === reading.answer) {
      // Another heatmap that could not be had: the controls go back to the one that is shown.
      if (reading.problem) showExplanation(this.explanation, reading);
      return;
    }
    this.#shownAnswer = reading.answer;
    const { result } = reading;
    const { format, width, height } = result.image;
    const pixels = `${width} × ${height} pixels`;
    this.facts.textContent = `${format.toUpperCase()}, ${pixels}, ${size(reading.file.size)}`;
    this.answer.replaceChildren(...summary(reading));
    const explanation = result.scope.in_scope ? result.explanation : null;
    this.viewer.overlay(explanation?.heatmap_png ?? null, words(explanation?.target ?? ""));
    showExplanation(this.explanation, reading);
    this.details.replaceChildren(...details(reading, this.#copies()));
  }

  #openViewer() {
    const { file, kind } = this.reading;
    this.viewer = new Viewer(file.name);
    this.explanation = element("div", { class: "explanation" });
    this.details = element("div", { class: "more" });
    const side = element("div", { class: "side" }, this.explanation);
    if (kind === "browser") {
      this.#pictureAddress = URL.createObjectURL(file);
      this.viewer.show(this.#pictureAddress);
    } else {
      this.#windowing = new Windowing(file, this.viewer);
      side.append(this.#windowing.node);
    }
    side.append(this.details);
    this.body.append(this.viewer.node, side);
  }

  #copies() {
    const { reading, actions } = this;
    const copied = async (what, text) =>
      actions.say((await copy(text)) ? `${what} copied.` : `${what} could not be copied.`);
    const { scope, explanation } = reading.result;
    const overlay = scope.in_scope ? explanation?.overlay_png : null;
    return element(
      "div",
      { class: "buttons" },
      button("Copy JSON", () => copied("JSON", withoutPictures(reading.answer)), {
        title: "The answer, without its pictures",
      }),
      button("Copy curl", () => copied("Command", curlCommand(reading.request, reading.file.name))),
      overlay
        ? element(
            "a",
            {
              class: "button",
              href: `data:image/png;base64,${overlay}`,
              download: "radiograph-with-heatmap.png",
            },
            "Save overlay",
          )
        : null,
    );
  }
}

function summary(reading) {
  const { result } = reading;
  const { headline, reasons } = result.conclusion;
  const warnings = result.warnings.map((one) => element("li", {}, one));
  return [
    element("p", { class: `headline decision ${result.decision}` }, headline),
    element("div", { class: "reasons" }, ...reasons.map((reason) => element("p", {}, unbroken(reason)))),
    result.scope.in_scope ? probabilityScale(result) : null,
    warnings.length > 0
      ? element("ul", { class: "warnings", "aria-label": "Warnings" }, ...warnings)
      : null,
  ].filter(Boolean);
}

function withoutPictures(answer) {
  const leftOut = new Set(["heatmap_png", "overlay_png"]);
  return JSON.stringify(answer, (name, value) => (leftOut.has(name) ? undefined : value), 2);
}
