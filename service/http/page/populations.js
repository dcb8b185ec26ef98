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
    const who = `${one.who}: ${one.validated ? "validated" : "not validated"}`;
    return row("td", who, ...[one.auroc, sensitivity, specificity].map(interval));
  });
  return element(
    "table",
    {},
    element("caption", {}, "On patients never trained on, with 95 % intervals"),
    element("thead", {}, row("th", "Patients", "AUROC", "Sensitivity", "Specificity")),
    element("tbody", {}, ...rows),
  );
}
