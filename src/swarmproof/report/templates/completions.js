"use strict";
// The browser of completions. Everything shown is untrusted and becomes text nodes, never markup.
const arms = JSON.parse(document.getElementById("completions").textContent);
const picks = ["arm", "seed", "round"].map((id) => document.getElementById(id));
const place = document.getElementById("shown");

function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

// The choices of a list; the one that was chosen stays if it is still there.
function offer(list, names) {
  const before = list.value;
  list.replaceChildren(...names.map((name) => element("option", name)));
  if (names.map(String).includes(before)) list.value = before;
}

function text(parts) {
  const made = element("pre", "");
  for (const [words, marks] of parts) {
    made.append(marks ? element("mark", words, marks) : words);
  }
  return made;
}

function verdict(found) {
  const word = found.accepted === null ? "abstained" : found.accepted ? "accepted" : "refused";
  const made = element("p", "", "verdict");
  made.append(element("b", `${found.defense} ${word}`, word));
  if (found.reason) made.append(`: ${found.reason}`);
  return made;
}

function card(kind, c) {
  const made = element("article", "", `sample ${kind.split(",")[0]}`);
  const header = element("header", "");
  header.append(...c.facts.map((fact) => element("span", fact)));
  made.append(header, text(c.parts), ...c.verdicts.map(verdict));
  return made;
}

function section({ kind, of, shown }) {
  const made = element("section", "");
  const heading = element("h3", kind);
  heading.append(element("small", ` ${shown.length} of ${of} in this round`));
  const cards = element("div", "", "samples");
  cards.append(...shown.map((c) => card(kind, c)));
  made.append(heading, cards);
  return made;
}

function show() {
  const [arm, seed, round] = picks;
  const { seeds } = arms[arm.selectedIndex];
  offer(seed, seeds.map((s) => s.seed));
  const rounds = seeds.length ? seeds[seed.selectedIndex].rounds : [];
  offer(round, rounds.map((r) => r.iteration));
  const kinds = rounds.length ? rounds[round.selectedIndex].kinds : [];
  place.replaceChildren(...kinds.map(section));
}

offer(picks[0], arms.map((a) => a.arm));
for (const list of picks) list.addEventListener("change", show);
document.getElementById("pick").hidden = false;
show();
