/**
 * Builds one element. Text becomes a text node, so nothing of it is ever read as HTML.
 *
 * @param {string} tag
 * @param {Object} attributes `class`, `on` (event handlers), else attributes; null and false are left out
 * @param {...(Node|string|null)} children
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    } else if (value !== null && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Gives a button that does something. */
export function button(text, onClick, attributes = {}) {
  return element("button", { type: "button", on: { click: onClick }, ...attributes }, text);
}

/** Gives a select with its label; options are pairs of value and text. */
export function selection(label, id, options, chosen, onChange) {
  const select = element(
    "select",
    { id, on: { change: () => onChange(select.value) } },
    ...options.map(([value, text]) => element("option", { value, selected: value === chosen }, text)),
  );
  return element("div", { class: "field" }, element("label", { for: id }, label), select);
}

let ids = 0;

/** Gives an id nobody else has. */
export function freshId(stem) {
  ids += 1;
  return `${stem}-${ids}`;
}
