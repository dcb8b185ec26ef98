import { element, freshId, selection } from "./dom.js";
import { methodName, words } from "./format.js";

const METHODS = ["gradcam", "gradcam_plus_plus", "layercam"]; // of a service that does not list them

const OUT_OF_SCOPE = "No heatmap is shown: the model was not made for such a picture.";

/**
 * Shows which heatmap there is and offers the others, or says why there is none.
 *
 * @param {Element} place emptied first; what had the focus in it has it afterwards
 * @param {import("./reading.js").Reading} reading
 */
export function showExplanation(place, reading) {
  const { explanation, probabilities, scope } = reading.result;
  if (!explanation || !scope.in_scope) {
    const why = scope.in_scope ? reading.noHeatmap : OUT_OF_SCOPE;
    place.replaceChildren(element("p", { class: "quiet" }, why));
    return;
  }
  const focused = place.contains(document.activeElement) ? document.activeElement.name : null;
  const classes = Object.keys(probabilities).map((one) => [one, words(one)]);
  const methods = (reading.choice.model?.explain?.methods ?? METHODS).map((one) => [one, methodName(one)]);
  const choice = (text, name, options) => {
    const ask = (value) => reading.explain({ [name]: value });
    const field = selection(text, freshId(name), options, explanation[name], ask);
    field.querySelector("select").name = name;
    return field;
  };
  const target = words(explanation.target);
  place.replaceChildren(
    element(
      "div",
      { class: "fields" },
      choice("Heatmap for", "target", classes),
      choice("Method", "method", methods),
    ),
    element(
      "p",
      { class: "quiet" },
      `The brighter a region, the more it spoke for ${target}. The heatmap does not outline disease.`,
    ),
  );
  if (focused) place.querySelector(`[name=${focused}]`).focus();
}
