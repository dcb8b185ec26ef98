/**
 * All ways a file comes in: chosen, dropped anywhere on the page, pasted.
 *
 * @param {{input: HTMLInputElement, zone: Element, onFiles: (files: File[]) => void}} parts
 */
export function openIntake({ input, zone, onFiles }) {
  input.addEventListener("change", () => {
    onFiles([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });
  let depth = 0; // enter and leave come for every element that is passed
  document.addEventListener("dragenter", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    depth += 1;
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", () => {
    depth = Math.max(depth - 1, 0);
    if (depth === 0) zone.classList.remove("over");
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    zone.classList.remove("over");
    const files = await filesOf(event.dataTransfer);
    if (files.length > 0) onFiles(files);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length > 0) onFiles(files);
  });
}

/** The files of a drop, those inside folders too. */
async function filesOf(transfer) {
  // Both have to be taken before the first await: the transfer is emptied then.
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = await Promise.all(entries.filter(Boolean).map(filesUnder));
  return found.flat();
}

async function filesUnder(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const children = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break; // it gives a hundred at a time
    children.push(...some);
  }
  const visible = children.filter(({ name }) => !name.startsWith("."));
  return (await Promise.all(visible.map(filesUnder))).flat();
}
