import { endpoint } from "./api.js";

/** The command that gives the same answer in a shell. */
export function curlCommand({ path, query }, fileName) {
  const { href } = endpoint(path, query);
  return `curl --data-binary ${quoted(`@${safeName(fileName)}`)} ${quoted(href)}`;
}

/** A word for a POSIX shell: nothing in single quotes means anything but their end. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The name in the current folder; one with control characters is not repeated. */
function safeName(name) {
  return /[\p{C}]/u.test(name) ? "./radiograph" : `./${name}`;
}
