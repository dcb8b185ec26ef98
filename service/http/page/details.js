import { element } from "./dom.js";
import { duration, methodName, percent, words } from "./format.js";

/**
 * All about an answer that is not its first message.
 *
 * @param {import("./reading.js").Reading} reading
 * @param {Element} copies buttons
 */
export function details(reading, copies) {
  const { answer, result } = reading;
  const { model, timings_ms: timings } = answer;
  const terms = rows(answer, result).flatMap(([name, value]) => [
    element("dt", {}, name),
    element("dd", {}, value),
  ]);
  return [
    copies,
    element(
      "details",
      { class: "facts" },
      element("summary", {}, `Details: ${model.name} ${model.version}, ${duration(timings.total)}`),
      element("dl", {}, ...terms),
    ),
  ];
}

function rows(answer, result) {
  const { model, timings_ms: timings } = answer;
  const { operating_point: point, image, scope } = result;
  return [
    ...(scope.in_scope ? numbers(result) : []),
    [
      "Operating point",
      `${words(point.name)}: threshold ${percent(point.threshold)}, ` +
        `sensitivity ${percent(point.sensitivity)}, specificity ${percent(point.specificity)}`,
    ],
    ["In scope", scope.in_scope ? "yes" : "no"],
    ["Population", populationText(result.population)],
    image.dicom ? ["DICOM", dicomText(image.dicom)] : null,
    ["Time", times(timings)],
    ["Model", `${model.name} ${model.version}, ${model.precision}, ${model.engine} on ${model.provider}`],
    ["Bundle", short(model.sha256)],
    ["File", short(image.sha256)],
    ["Request", answer.request_id],
  ].filter(Boolean);
}

/** What is known of the classes: of an image out of scope it would be of something else. */
function numbers({ probabilities, uncertainty, explanation }) {
  return [
    ...Object.entries(probabilities).map(([name, share]) => [
      `Probability of ${words(name)}`,
      percent(share),
    ]),
    [
      `Not ruled out (${percent(uncertainty.coverage)} coverage)`,
      uncertainty.prediction_set.map(words).join(", ") || "no class is credible",
    ],
    explanation ? ["Heatmap", `${methodName(explanation.method)} at ${explanation.layer}`] : null,
  ].filter(Boolean);
}

function populationText(population) {
  if (population === null) return "none the model knows";
  return `${population.who}${population.validated ? "" : ", not validated"}`;
}

function times({ total, ...stages }) {
  const parts = Object.entries(stages).map(([stage, spent]) => `${stage} ${duration(spent)}`);
  return `${duration(total)} in all: ${parts.join(", ")}`;
}

function dicomText(dicom) {
  const { modality, body_part: part, view_position: view, photometric_interpretation: grey } = dicom;
  return [modality, part, view, grey].filter(Boolean).join(", ");
}

/** The digest's beginning, as version control shows it; all of it is in the JSON. */
function short(digest) {
  return `sha256 ${digest.slice(0, 12)}`;
}
