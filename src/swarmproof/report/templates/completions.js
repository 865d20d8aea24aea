// The browser of completions. Everything shown is untrusted and becomes text nodes, never markup.
const data = JSON.parse(document.getElementById("completions").textContent);
const ANY = "(any)"; // no arm can have this name
const MOST = 60; // completions shown at once
const [armPick, seedPick, roundPick, kindPick, refusedPick] =
  ["arm", "seed", "round", "kind", "refused"].map((id) => document.getElementById(id));
const picks = [armPick, seedPick, roundPick, kindPick, refusedPick];
const search = document.getElementById("search");
const place = document.getElementById("shown");
const found = document.getElementById("found");

function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

// A group is the sample of one kind, refused or not, in one iteration of one arm and seed.
const groups = data.arms.flatMap(({ arm, seeds }) => seeds.flatMap(({ seed, rounds }) =>
  rounds.flatMap(({ iteration, kinds }) => kinds.map((k) => ({
    ...k, arm, seed: String(seed), round: String(iteration), refused: k.refused ? "yes" : "no",
    shown: k.shown.map((c) => ({ ...c, words: words(c) })),
  })))));

function words(c) {
  const parts = [...c.facts, c.question, c.answer, ...c.parts.map(([text]) => text)];
  for (const v of c.verdicts) parts.push(v.defense, v.reason);
  return parts.join("\n").toLowerCase();
}

// The choices of a list; the chosen one stays if it is still there.
function offer(list, names) {
  const before = list.value;
  list.replaceChildren(...[ANY, ...new Set(names)].map((name) => element("option", name)));
  list.value = [...list.options].some((o) => o.value === before) ? before : ANY;
}

function text(parts) {
  const made = element("pre", "");
  for (const [letters, marks] of parts) {
    made.append(marks ? element("mark", letters, marks) : letters);
  }
  return made;
}

function verdict(v) {
  const word = v.accepted === null ? "abstained" : v.accepted ? "accepted" : "refused";
  const made = element("p", "", "verdict");
  made.append(element("b", `${v.defense} ${word}`, word));
  if (v.reason) made.append(`: ${v.reason}`);
  return made;
}

function labelled(label, value) {
  const made = element("p", "", "given");
  made.append(element("b", label), ` ${value}`);
  return made;
}

function card(group, c) {
  const made = element("article", "", `sample ${group.kind.split(",")[0]}`);
  const header = element("header", "");
  header.append(...c.facts.map((fact) => element("span", fact)));
  const given = [labelled("Question", c.question), labelled("Right answer", c.answer)];
  made.append(header, ...given, text(c.parts), ...c.verdicts.map(verdict));
  return made;
}

function section([group, some]) {
  const made = element("section", "");
  const heading = element("h3", group.refused === "yes" ? `${group.kind}, refused` : group.kind);
  const where = `${group.arm}, seed ${group.seed}, iteration ${group.round}`;
  heading.append(element("small", ` ${where}: ${some.length} of ${group.of}`));
  const cards = element("div", "", "samples");
  cards.append(...some.map((c) => card(group, c)));
  made.append(heading, cards);
  return made;
}

function chosen(group, lists) {
  return lists.every((list) => list.value === ANY || list.value === group[list.id]);
}

function show() {
  const within = (...lists) => groups.filter((group) => chosen(group, lists));
  const numbers = (names) => [...new Set(names)].sort((a, b) => a - b);
  offer(seedPick, numbers(within(armPick).map((g) => g.seed)));
  offer(roundPick, numbers(within(armPick, seedPick).map((g) => g.round)));
  const wanted = search.value.trim().toLowerCase();
  let total = 0;
  const shown = [];
  for (const group of within(...picks)) {
    const matching = group.shown.filter((c) => c.words.includes(wanted));
    const room = matching.slice(0, Math.max(0, MOST - total));
    total += matching.length;
    if (room.length) shown.push([group, room]);
  }
  place.replaceChildren(...shown.map(section));
  const all = groups.reduce((sum, group) => sum + group.shown.length, 0);
  const cut = total > MOST ? `, the first ${MOST} are shown` : "";
  found.textContent = `${total} of the ${all} completions on this page match${cut}.`;
}

function start() {
  offer(armPick, data.arms.map((a) => a.arm));
  offer(kindPick, groups.map((g) => g.kind));
  offer(refusedPick, ["yes", "no"]);
  const { arm, seed, iteration, kind } = data.open ?? {};
  if (data.open) {
    armPick.value = arm;
    show();
    seedPick.value = seed;
    show();
    roundPick.value = iteration;
    if (kind) kindPick.value = kind;
  }
  for (const list of picks) list.addEventListener("change", show);
  search.addEventListener("input", show);
  document.getElementById("pick").hidden = false;
  show();
}

start();
