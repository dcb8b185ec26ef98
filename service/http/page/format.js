const SPACE = "\u00a0"; // number and unit stay on one line

/** A share as people write it: one decimal, and never 100 % for what is only nearly so. */
export function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 0.1) return `< 0.1${SPACE}%`;
  if (value < 100 && value > 99.9) return `> 99.9${SPACE}%`;
  return `${Number(value.toFixed(1))}${SPACE}%`;
}

/** A figure with its 95 % interval, both as shares between 0 and 1. */
export function interval({ value, low, high }) {
  if (value === null) return "not known";
  const text = value.toFixed(2);
  return low === null ? text : `${text} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}

/** A sentence of the service, in which no line ends between a number and its unit. */
export function unbroken(sentence) {
  return sentence.replaceAll(" %", `${SPACE}%`);
}

/** Milliseconds as people read them. */
export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.round(milliseconds)}${SPACE}ms`;
  return `${(milliseconds / 1000).toFixed(1)}${SPACE}s`;
}

/** A file's size. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes}${SPACE}bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)}${SPACE}kB` : `${(bytes / 1e6).toFixed(1)}${SPACE}MB`;
}

/** A model's name of something (PNEUMONIA, rule_in) as words. */
export function words(name) {
  return name.toLowerCase().replaceAll("_", " ");
}

const METHODS = { gradcam: "Grad-CAM", gradcam_plus_plus: "Grad-CAM++", layercam: "LayerCAM" };

/** A heatmap method's usual spelling. */
export function methodName(method) {
  return METHODS[method] ?? method;
}
