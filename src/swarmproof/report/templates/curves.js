"use strict";
// Shows the values of the iteration under the pointer at once; without it, titles do so slowly.
const tip = document.getElementById("tip");
for (const column of document.querySelectorAll("g.hover rect")) {
  const title = column.querySelector("title");
  const values = title.textContent;
  title.remove();
  column.addEventListener("pointerenter", () => {
    tip.textContent = values;
    tip.hidden = false;
  });
  column.addEventListener("pointermove", (event) => {
    const { width, height } = tip.getBoundingClientRect();
    const left = event.clientX + 16 + width > innerWidth
      ? Math.max(4, event.clientX - 16 - width) : event.clientX + 16;
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - height - 4))}px`;
  });
  column.addEventListener("pointerleave", () => { tip.hidden = true; });
}
