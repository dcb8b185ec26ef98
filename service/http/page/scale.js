import { element } from "./dom.js";
import { percent, words } from "./format.js";

/**
 * The probability against the operating point, on a scale from 0 to 100 %.
 *
 * One picture for screen readers, with all of it as text; labels are drawn, never coloured only.
 */
export function probabilityScale(result) {
  const { probability, decision, operating_point: point } = result;
  const band = result.uncertainty.refer_band;
  const { subject } = result.conclusion;
  const limits = band && `${percent(band.low)} to ${percent(band.high)}`;
  const text =
    `Probability of ${subject} ${percent(probability)}. Threshold of the operating point ` +
    `${words(point.name)} ${percent(point.threshold)}.` +
    (band ? ` The model abstains from ${limits}.` : "");
  const track = element("div", { class: "track" });
  if (band) {
    const range = element("div", { class: "band" });
    range.style.left = `${band.low * 100}%`;
    range.style.width = `${(band.high - band.low) * 100}%`;
    track.append(range);
  }
  track.append(
    placed(element("div", { class: "threshold" }), point.threshold),
    placed(element("div", { class: `marker ${decision}` }), probability),
  );
  return element(
    "div",
    { class: "scale", role: "img", "aria-label": text },
    element("p", { class: "quiet" }, `Probability of ${subject}`),
    element("div", { class: "labels" }, label(percent(probability), "value", probability)),
    track,
    element(
      "div",
      { class: "labels below" },
      label(`threshold ${percent(point.threshold)}`, "limit", point.threshold),
    ),
    element("div", { class: "ends" }, element("span", {}, "0 %"), element("span", {}, "100 %")),
    band ? element("p", { class: "quiet" }, `Hatched: the model abstains, ${limits}`) : null,
  );
}

function placed(node, share) {
  node.style.left = `${share * 100}%`;
  return node;
}

/** A label over a point, kept inside the scale at both ends. */
function label(text, kind, share) {
  const node = placed(element("span", { class: kind }, text), share);
  node.style.transform = `translateX(${-share * 100}%)`;
  return node;
}
