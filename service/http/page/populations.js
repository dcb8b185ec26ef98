import { element } from "./dom.js";
import { interval } from "./format.js";

/**
 * Says whom a model was validated on, and what it is worth for them.
 *
 * @param {Object} model as `/v1/models` describes it
 * @param {string} point name of the operating point
 */
export function populationsTable(model, point) {
  const row = (tag, ...cells) => element("tr", {}, ...cells.map((text) => element(tag, {}, text)));
  const rows = model.populations.map((one) => {
    const { sensitivity, specificity } = one.operating_points[point];
    const validated = one.validated ? "yes" : "no";
    return row("td", one.who, validated, ...[one.auroc, sensitivity, specificity].map(interval));
  });
  return element(
    "div",
    { class: "wide", role: "region", "aria-label": "Patients validated on", tabindex: "0" },
    element(
      "table",
      {},
      element("caption", {}, "On patients never trained on, with 95 % intervals"),
      element("thead", {}, row("th", "Patients", "Validated", "AUROC", "Sensitivity", "Specificity")),
      element("tbody", {}, ...rows),
    ),
  );
}
