import { endpoint, get } from "./api.js";
import { element, selection } from "./dom.js";
import { percent, words } from "./format.js";
import { populationsTable } from "./populations.js";

/** The model and the operating point that files are read with. Emits `change`. */
export class Choices extends EventTarget {
  #models = [];
  #asked = null;

  /** @param {Element} place where the controls go */
  constructor(place) {
    super();
    this.place = place;
    this.model = null;
    this.operatingPoint = null;
  }

  /** What a reading needs to know. */
  get current() {
    return { model: this.model, operatingPoint: this.operatingPoint };
  }

  /**
   * Asks the service what is loaded: once, and again after a failure. Without an answer files
   * are read with the service's own defaults.
   */
  load() {
    this.#asked ??= this.#ask();
    return this.#asked;
  }

  async #ask() {
    this.#say("Asking the service for its models");
    try {
      const onWait = () => this.#say("The service is starting");
      const answer = await get(endpoint("v1/models"), { onWait });
      this.#models = answer.models;
      this.#choose(this.#models.find((model) => model.default) ?? this.#models[0]);
    } catch (problem) {
      this.#asked = null;
      this.#say(`${problem.headline ?? "The models are not known."} ${problem.advice ?? ""}`);
    }
  }

  #say(text) {
    this.place.replaceChildren(element("p", { class: "quiet" }, text));
  }

  #choose(model, operatingPoint = model.default_operating_point) {
    this.model = model;
    this.operatingPoint = operatingPoint;
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  #show() {
    const focused = document.activeElement?.id;
    const { model } = this;
    const point = model.operating_points.find((one) => one.name === this.operatingPoint);
    this.place.replaceChildren(
      element(
        "div",
        { class: "fields" },
        selection(
          "Model",
          "model",
          this.#models.map((one) => [one.name, `${one.name} ${one.version}`]),
          model.name,
          (name) => this.#choose(this.#models.find((one) => one.name === name)),
        ),
        selection(
          "Operating point",
          "operating-point",
          model.operating_points.map((one) => [one.name, words(one.name)]),
          point.name,
          (name) => this.#choose(model, name),
        ),
      ),
      element(
        "p",
        { class: "quiet" },
        `Threshold ${percent(point.threshold)}: on validation patients ` +
          `sensitivity ${percent(point.sensitivity)}, specificity ${percent(point.specificity)}.`,
      ),
      about(model, point.name),
    );
    if (focused) document.getElementById(focused)?.focus();
  }
}

function about(model, point) {
  return element(
    "details",
    {},
    element("summary", {}, "What this model is for, and its limits"),
    element("p", {}, model.intended_use),
    populationsTable(model, point),
    element("ul", {}, ...model.limitations.map((one) => element("li", {}, one))),
  );
}
