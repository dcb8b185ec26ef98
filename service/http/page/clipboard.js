/** Copies text. @returns {Promise<boolean>} whether it could be */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // no clipboard without HTTPS, except on the own machine
  }
}

function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  before?.focus();
  return isCopied;
}
