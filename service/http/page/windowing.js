import { endpoint, post } from "./api.js";
import { button, element, freshId } from "./dom.js";

const MAX_SIDE_PX = 1536;
const DEBOUNCE_MS = 120;

/**
 * Pictures of a file that the browser cannot show, made by the service; for monochrome DICOM
 * through a window that can be changed.
 */
export class Windowing {
  #controller = new AbortController();
  #timer = 0;
  #first = null;

  /**
   * @param {File} file
   * @param {import("./viewer.js").Viewer} viewer shows the pictures
   */
  constructor(file, viewer) {
    this.file = file;
    this.viewer = viewer;
    this.node = element("fieldset", { class: "windowing", hidden: true }, element("legend", {}, "Window"));
    this.#render({});
  }

  /** Stops asking. */
  close() {
    clearTimeout(this.#timer);
    this.#controller.abort();
  }

  async #render(window) {
    this.#controller.abort();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    this.viewer.busy = true;
    try {
      const url = endpoint("v1/render", { max_side: MAX_SIDE_PX, ...window });
      const answer = await post(url, this.file, { signal });
      this.viewer.show(`data:image/png;base64,${answer.png}`);
      if (this.#first === null && answer.range !== null) this.#open(answer);
    } catch (error) {
      if (signal.aborted) return;
      this.viewer.say(`The picture could not be made. ${error.message}`);
    }
    this.viewer.busy = false;
  }

  /** Offers the controls, from what the first picture was shown through. */
  #open({ window, range }) {
    const { low, high } = range;
    const whole = { center: (low + high) / 2, width: Math.max(high - low, 1) };
    this.#first = window ?? whole;
    const { center } = this.#first;
    this.center = this.#control("Centre", Math.min(low, center), Math.max(high, center));
    this.width = this.#control("Width", 1, Math.max(2 * whole.width, this.#first.width));
    this.node.append(
      this.center.node,
      this.width.node,
      element(
        "div",
        { class: "presets" },
        button("As sent", () => this.#reset()),
        button("Full range", () => this.#choose(whole)),
      ),
    );
    this.#fill(this.#first);
    this.node.hidden = false;
  }

  /** A slider and a number field that move together. */
  #control(text, low, high) {
    const id = freshId("window");
    const step = high - low > 50 ? 1 : "any";
    const name = `Window ${text.toLowerCase()}, slider`;
    const slider = element("input", { type: "range", min: low, max: high, step, "aria-label": name });
    const number = element("input", { type: "number", id, step: "any" });
    slider.addEventListener("input", () => {
      number.value = slider.value;
      this.#changed();
    });
    number.addEventListener("input", () => {
      if (number.value === "" || !number.checkValidity()) return;
      slider.value = number.value;
      this.#changed();
    });
    return {
      node: element(
        "div",
        { class: "window-control" },
        element("label", { for: id }, text),
        slider,
        number,
      ),
      get value() {
        return number.valueAsNumber;
      },
      set value(value) {
        number.value = String(Number(value.toFixed(2)));
        slider.value = number.value;
      },
    };
  }

  #fill({ center, width }) {
    this.center.value = center;
    this.width.value = width;
  }

  #choose(window) {
    this.#fill(window);
    this.#changed();
  }

  #reset() {
    this.#fill(this.#first);
    clearTimeout(this.#timer);
    this.#render({});
  }

  #changed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const [center, width] = [this.center.value, this.width.value];
      if (!Number.isFinite(center) || !(width > 0)) return;
      this.#render({ window_center: center, window_width: width });
    }, DEBOUNCE_MS);
  }
}
