import { element } from "./dom.js";
import { percent } from "./format.js";

/** Lists all readings in a line each, with links to their cards. */
export function showOverview(list, cards) {
  list.hidden = cards.length < 2;
  list.replaceChildren(
    ...cards.map(({ id, reading, title }) =>
      element(
        "li",
        { class: reading.result?.decision ?? reading.state },
        element(
          "a",
          { href: `#${id}`, on: { click: () => title.focus({ preventScroll: true }) } },
          reading.file.name,
        ),
        element("span", {}, stateOf(reading)),
        element("span", { class: "value" }, valueOf(reading.result)),
      ),
    ),
  );
}

function valueOf(result) {
  return result?.scope.in_scope ? percent(result.probability) : "";
}

function stateOf(reading) {
  if (reading.result) return reading.result.conclusion.headline;
  const states = { waiting: "Waiting", failed: "Not read", cancelled: "Cancelled" };
  return states[reading.state] ?? "Being read";
}
