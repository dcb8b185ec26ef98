import { button, element, freshId } from "./dom.js";
import { percent } from "./format.js";

const FIRST_OPACITY = 0.6;

/** The radiograph on near-black, the heatmap over it, and what moves them. */
export class Viewer {
  #picture = element("img", { class: "picture", alt: "" });
  #heatmap = element("img", { class: "heatmap", alt: "", hidden: true });
  #frame = element("div", { class: "frame" }, this.#picture, this.#heatmap);
  #message = element("p", { class: "stage-message" }, "Preparing the picture");

  /** @param {string} name of the file, used as text only */
  constructor(name) {
    this.#picture.alt = `Radiograph of the file ${name}`;
    this.#picture.addEventListener("load", () => this.#fit());
    this.#picture.addEventListener("error", () => this.say("The browser cannot show this picture."));
    this.stage = element(
      "div",
      {
        class: "stage",
        tabindex: "0",
        role: "group",
        "aria-label": `Picture of ${name}. H shows or hides the heatmap, Z changes the size.`,
        on: { keydown: (event) => this.#onKey(event) },
      },
      this.#message,
      this.#frame,
    );
    this.controls = this.#buildControls();
    this.node = element("figure", { class: "viewer" }, this.stage, this.controls);
    this.setOpacity(FIRST_OPACITY);
  }

  /** Shows a picture by its address. */
  show(address) {
    this.#picture.src = address;
  }

  /** Says something in place of a picture, or nothing. */
  say(text) {
    this.#message.textContent = text;
    this.#message.hidden = text === "";
  }

  set busy(isBusy) {
    this.stage.setAttribute("aria-busy", String(isBusy));
  }

  /** Lays a heatmap over the picture; null takes it away. */
  overlay(base64, target) {
    this.controls.querySelector(".heatmap-controls").hidden = base64 === null;
    if (base64 === null) {
      this.#heatmap.hidden = true;
      return;
    }
    this.#heatmap.src = `data:image/png;base64,${base64}`;
    this.#heatmap.alt = `Heatmap: regions that spoke for ${target}`;
    this.#heatmap.hidden = !this.toggle.checked;
  }

  setOpacity(share) {
    this.#heatmap.style.opacity = String(share);
    this.slider.value = String(Math.round(share * 100));
    this.slider.setAttribute("aria-valuetext", percent(share));
    this.output.textContent = percent(share);
  }

  #buildControls() {
    const toggleId = freshId("heatmap");
    const sliderId = freshId("opacity");
    this.toggle = element("input", {
      type: "checkbox",
      id: toggleId,
      checked: true,
      on: { change: () => (this.#heatmap.hidden = !this.toggle.checked) },
    });
    this.slider = element("input", {
      type: "range",
      id: sliderId,
      min: "0",
      max: "100",
      step: "5",
      on: { input: () => this.setOpacity(this.slider.value / 100) },
    });
    this.output = element("span", { class: "amount" });
    this.zoom = button("Full size", () => this.#toggleSize(), { "aria-pressed": "false" });
    return element(
      "figcaption",
      { class: "controls" },
      element(
        "div",
        { class: "heatmap-controls", hidden: true },
        element("span", { class: "check" }, this.toggle, element("label", { for: toggleId }, "Heatmap")),
        element(
          "span",
          { class: "opacity" },
          element("label", { for: sliderId }, "Opacity"),
          this.slider,
          this.output,
        ),
      ),
      this.zoom,
    );
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "h") this.toggle.click();
    else if (key === "z") this.#toggleSize();
  }

  #toggleSize() {
    const isFull = this.#frame.classList.toggle("full");
    this.zoom.setAttribute("aria-pressed", String(isFull));
  }

  #fit() {
    this.say("");
    const { naturalWidth: width, naturalHeight: height } = this.#picture;
    this.#frame.style.setProperty("--ratio", width / height);
    this.#frame.style.setProperty("--width", `${width}px`);
    this.#frame.classList.add("shown");
  }
}
