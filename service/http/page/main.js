import { Announcer } from "./announcer.js";
import { Card } from "./card.js";
import { Choices } from "./choices.js";
import { percent } from "./format.js";
import { openIntake } from "./intake.js";
import { showOverview } from "./overview.js";
import { Pool } from "./pool.js";
import { Reading } from "./reading.js";

const AT_A_TIME = 2; // one is sent while another is read

const part = (id) => document.getElementById(id);
const announcer = new Announcer(part("announcer"));
const choices = new Choices(part("choices"));
const pool = new Pool(AT_A_TIME);
let cards = [];

function start(reading) {
  pool.add(async () => {
    await choices.load(); // so that it is read with the choice that is shown
    if (reading.choice.model === null) reading.choice = choices.current;
    await reading.run();
  });
}

function add(files) {
  const added = files.map((file) => {
    const reading = new Reading(file, choices.current);
    const actions = { onRemove: () => remove(card), onRetry: () => readAgain(card), say };
    const card = new Card(reading, actions);
    reading.addEventListener("change", () => changed(card));
    return card;
  });
  cards.push(...added);
  part("cards").append(...added.map(({ node }) => node));
  for (const { reading } of added) start(reading);
  refresh();
  added[0].node.scrollIntoView({ block: "nearest" }); // on a phone it would be below
  say(added.length === 1 ? `${files[0].name} added.` : `${added.length} files added.`);
}

function changed(card) {
  const { reading } = card;
  const wasOver = card.wasOver ?? false;
  card.wasOver = reading.isOver && !reading.explaining;
  card.update();
  refresh();
  if (card.wasOver && !wasOver) say(`${reading.file.name}: ${outcome(reading)}`);
}

function outcome({ state, result, problem }) {
  if (state === "cancelled") return "cancelled.";
  if (problem) return `${problem.headline} ${problem.advice}`;
  const { conclusion, scope, probability } = result;
  return `${conclusion.headline}${scope.in_scope ? `, probability ${percent(probability)}` : ""}.`;
}

function readAgain(card) {
  card.reading.restart(choices.current);
  start(card.reading);
}

function remove(card) {
  const place = cards.indexOf(card);
  card.reading.cancel();
  card.close();
  card.node.remove();
  cards = cards.filter((one) => one !== card);
  refresh();
  const next = cards[place] ?? cards[place - 1];
  if (next) next.title.focus();
  else part("files").focus();
  say(`${card.reading.file.name} removed.`);
}

function clear() {
  for (const card of cards) {
    card.reading.cancel();
    card.close();
    card.node.remove();
  }
  cards = [];
  refresh();
  part("files").focus();
  say("All readings removed.");
}

function refresh() {
  const over = cards.filter(({ reading }) => reading.isOver).length;
  part("readings").hidden = cards.length === 0;
  document.body.classList.toggle("has-readings", cards.length > 0);
  part("tally").textContent = `${over} of ${cards.length} done`;
  const { model, operatingPoint } = choices.current;
  part("again").hidden = !cards.some(
    ({ reading: { result, choice } }) =>
      result && (choice.model !== model || choice.operatingPoint !== operatingPoint),
  );
  showOverview(part("overview"), cards);
}

function say(text) {
  announcer.say(text);
}

part("again").addEventListener("click", () => {
  for (const card of cards) readAgain(card);
  part("clear").focus(); // the button that was pressed goes away
});
part("clear").addEventListener("click", clear);
choices.addEventListener("change", refresh);
openIntake({ input: part("files"), zone: part("drop"), onFiles: add });
choices.load();
