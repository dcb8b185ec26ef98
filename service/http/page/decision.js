import { percent, words } from "./format.js";

/**
 * A result in words.
 *
 * @param {Object} result one of an answer's results
 * @param {Object|null} model its description in v1/models
 * @returns {{headline: string, short: string, reasons: string[]}}
 */
export function inWords(result, model) {
  const finding = words(model?.positive_class ?? "pneumonia");
  const { probability, operating_point: point } = result;
  const value = percent(probability);
  const threshold = percent(point.threshold);
  if (result.decision === "refer") {
    return {
      headline: "No answer: a person has to look",
      short: "A person has to look",
      reasons: referralReasons(result, value),
    };
  }
  const likely = result.decision === "positive";
  return {
    headline: `Signs of ${finding}: ${likely ? "likely" : "unlikely"}`,
    short: likely ? "Likely" : "Unlikely",
    reasons: [
      likely
        ? `The probability, ${value}, is at or above the threshold of ${threshold}.`
        : `The probability, ${value}, is below the threshold of ${threshold}.`,
      ...kindOfFinding(result),
    ],
  };
}

/** Which class of the finding is the most probable one, if the model tells several apart. */
function kindOfFinding({ decision, label, finding, probabilities }) {
  if (decision !== "positive" || label === finding) return [];
  return [`The most probable kind is ${words(label)}, ${percent(probabilities[label])}.`];
}

function referralReasons(result, value) {
  if (result.scope.reasons.length > 0) {
    return ["The model was not made for such an image:", ...result.scope.reasons];
  }
  const band = result.uncertainty.refer_band;
  if (band && result.probability >= band.low && result.probability <= band.high) {
    return [
      `The probability, ${value}, lies between ${percent(band.low)} and ${percent(band.high)}, ` +
        "where the model abstains.",
    ];
  }
  return [`The model abstains at this probability, ${value}.`];
}
