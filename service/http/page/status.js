import { element } from "./dom.js";

/** What is going on with a reading, or why it ended, as elements. */
export function statusOf(reading) {
  const shown = {
    waiting: () => [element("p", {}, "Waiting")],
    sending: () => [
      element("p", {}, `Sending, ${Math.round(reading.progress * 100)} %`),
      element("progress", { max: "1", value: reading.progress, "aria-label": "Sent" }),
    ],
    reading: () => [
      element("p", {}, "Being read"),
      element("progress", { "aria-label": "Being read" }),
    ],
    retrying: () => [element("p", {}, reading.note)],
    cancelled: () => [element("p", {}, "Cancelled")],
    done: () => (reading.explaining ? [element("p", {}, "Making another heatmap")] : []),
    failed: () => [],
  };
  return [...shown[reading.state](), ...(reading.problem ? [problemBox(reading.problem)] : [])];
}

function problemBox(problem) {
  const explained = `docs/problems#${encodeURIComponent(problem.slug)}`;
  return element(
    "div",
    { class: "problem" },
    element("p", { class: "headline" }, problem.headline),
    problem.advice ? element("p", {}, problem.advice) : null,
    element(
      "details",
      {},
      element("summary", {}, "What the service said"),
      element("p", {}, problem.detail),
      problem.status
        ? element(
            "p",
            { class: "quiet" },
            `Status ${problem.status}, `,
            element("a", { href: explained }, problem.slug),
            problem.requestId ? `, request ${problem.requestId}` : "",
          )
        : null,
    ),
  );
}
