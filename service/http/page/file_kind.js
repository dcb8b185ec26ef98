const PNG_DEPTH_AT = 24; // IHDR's bit depth
const HEAD_BYTES = 132;

/**
 * Tells from a file's first bytes how it can be shown.
 *
 * @param {Blob} file
 * @returns {Promise<"browser"|"dicom"|"service"|"unknown">} `browser`: shown as it is; `dicom` and
 *   `service`: the service has to make a picture, as of PNG with 16 bits, whose scale browsers ignore
 */
export async function kindOf(file) {
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const text = String.fromCharCode(...head);
  if (text.slice(128, 132) === "DICM") return "dicom";
  if (text.startsWith("\xff\xd8\xff")) return "browser";
  if (text.startsWith("\x89PNG")) return head[PNG_DEPTH_AT] > 8 ? "service" : "browser";
  return "unknown";
}
