const NAME = "cxr-key";
const FORM = /^[\x21-\x7e]+$/; // what a header can hold

/** The key this page shows the service; forgotten when its tab is closed. */
export function accessKey() {
  return sessionStorage.getItem(NAME);
}

/**
 * Asks for a key, unless another than the refused one was given meanwhile.
 *
 * @param {?string} refused
 * @returns {boolean} whether there is a key to try
 */
export function askForKey(refused) {
  if (accessKey() !== refused) return true;
  const given = window.prompt("The service asks for a key. Paste yours:")?.trim() ?? "";
  if (!FORM.test(given)) return false;
  sessionStorage.setItem(NAME, given);
  return true;
}
